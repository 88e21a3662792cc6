/* SPDX-License-Identifier: MIT */
/* SHA-256 against the vectors of FIPS 180-4's examples and against OpenSSL. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <openssl/evp.h>

#include "sha256.h"

static void hex_digest(const void *data, size_t size, char text[65])
{
	uint8_t digest[SHA256_SIZE];
	struct sha256 sha;

	sha256_init(&sha);
	sha256_update(&sha, data, size);
	sha256_final(&sha, digest);
	for (unsigned int i = 0; i < SHA256_SIZE; i++) {
		text[2 * i] = "0123456789abcdef"[digest[i] >> 4];
		text[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
	}
	text[64] = 0;
}

static void published_vectors(void **state)
{
	static const struct {
		const char *text, *digest;
	} vectors[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
		 "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
		 "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
	};
	char text[65];

	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		hex_digest(vectors[i].text, strlen(vectors[i].text), text);
		assert_string_equal(text, vectors[i].digest);
	}
}

static void a_million_times_a(void **state)
{
	uint8_t block[1000], digest[SHA256_SIZE];
	static const uint8_t want[SHA256_SIZE] = {
		0xcd, 0xc7, 0x6e, 0x5c, 0x99, 0x14, 0xfb, 0x92, 0x81, 0xa1, 0xc7,
		0xe2, 0x84, 0xd7, 0x3e, 0x67, 0xf1, 0x80, 0x9a, 0x48, 0xa4, 0x97,
		0x20, 0x0e, 0x04, 0x6d, 0x39, 0xcc, 0xc7, 0x11, 0x2c, 0xd0,
	};
	struct sha256 sha;

	memset(block, 'a', sizeof(block));
	sha256_init(&sha);
	for (int i = 0; i < 1000; i++)
		sha256_update(&sha, block, sizeof(block));
	sha256_final(&sha, digest);
	assert_memory_equal(digest, want, sizeof(want));
}

/* Every length around the block and padding boundaries, cut in two at every place. */
static void any_cut_gives_the_same(void **state)
{
	uint8_t data[200], digest[SHA256_SIZE], want[SHA256_SIZE];
	struct sha256 sha;

	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + 3);
	for (size_t size = 0; size <= sizeof(data); size++) {
		assert_int_equal(EVP_Digest(data, size, want, NULL, EVP_sha256(), NULL), 1);
		for (size_t cut = 0; cut <= size; cut++) {
			sha256_init(&sha);
			sha256_update(&sha, data, cut);
			sha256_update(&sha, data + cut, size - cut);
			sha256_final(&sha, digest);
			assert_memory_equal(digest, want, sizeof(want));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_vectors),
		cmocka_unit_test(a_million_times_a),
		cmocka_unit_test(any_cut_gives_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
