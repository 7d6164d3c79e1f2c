import assert from "node:assert/strict";
import { checkKeyFile, createKeyFile, loadKeys, parseKeys } from "../../src/config/key_file.ts";

const A = "a1".repeat(32);
const B = "B2".repeat(40);

/** A directory that is gone when the test ends. */
function directory(test: (path: string) => void): () => void {
  return () => {
    const path = Deno.makeTempDirSync({ prefix: "bascule-key-" });
    try {
      test(path);
    } finally {
      Deno.removeSync(path, { recursive: true });
    }
  };
}

function messages(text: string): string[] {
  return parseKeys(text).problems.map(({ line, message }) => `${line}: ${message}`);
}

Deno.test("key file: the first key seals, every key opens", () => {
  const { keys, problems } = parseKeys(`# rotation\n\n7 ${A} # new\n 4294967295\t${B}\r\n`);
  assert.deepEqual(problems, []);
  assert.equal(keys?.active, 7);
  assert.deepEqual([...keys?.keys ?? []].map(([id, key]) => [id, key.length, key[0]]), [
    [7, 32, 0xa1],
    [4294967295, 40, 0xb2],
  ]);
});

Deno.test("key file: every bad line is named, and no key material", () => {
  const text = `1 ${A}\nx ${A}\n1 ${B}\n2 ${A.slice(2)}\n4294967296 ${A}\n3 ${A}f\n`;
  assert.deepEqual(messages(text), [
    "2: not a key; write a number, a space and an even number of hex digits",
    "3: key id 1 is used twice; give every key its own",
    "4: the key has 31 bytes and needs 32; make one with bascule config key",
    "5: key id 4294967296 is not between 0 and 4294967295",
    "6: not a key; write a number, a space and an even number of hex digits",
  ]);
  assert.ok(!messages(text).join().includes("a1a1"));
  assert.deepEqual(messages("# nothing\n"), [
    "0: holds no key; make one with bascule config key",
  ]);
});

Deno.test(
  "key file: a new one is private, different each time, and never overwrites",
  directory((path) => {
    createKeyFile(`${path}/one`);
    createKeyFile(`${path}/two`);
    assert.equal((Deno.statSync(`${path}/one`).mode ?? 0) & 0o777, 0o600);
    const [one, two] = [loadKeys(`${path}/one`), loadKeys(`${path}/two`)];
    assert.equal(one.active, 1);
    assert.equal(one.keys.get(1)?.length, 32);
    assert.notDeepEqual(one.keys, two.keys);
    const before = Deno.readTextFileSync(`${path}/one`);
    assert.throws(() => createKeyFile(`${path}/one`), Deno.errors.AlreadyExists);
    assert.equal(Deno.readTextFileSync(`${path}/one`), before);
    Deno.symlinkSync(`${path}/absent`, `${path}/link`);
    assert.throws(() => createKeyFile(`${path}/link`), Deno.errors.AlreadyExists);
  }),
);

Deno.test(
  "key file: any access for group or others is refused",
  directory((path) => {
    const file = `${path}/key`;
    createKeyFile(file);
    for (const mode of [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o777]) {
      Deno.chmodSync(file, mode);
      const check = checkKeyFile(file);
      assert.equal(check.state, "bad", mode.toString(8));
      assert.throws(() => loadKeys(file), {
        message: `${file}: has mode 0${mode.toString(8)}, so others can use the key; chmod 600 it`,
      });
    }
    for (const mode of [0o600, 0o400]) {
      Deno.chmodSync(file, mode);
      assert.equal(checkKeyFile(file).state, "good", mode.toString(8));
    }
  }),
);

Deno.test(
  "key file: absent files, directories and pipes",
  directory((path) => {
    assert.deepEqual(checkKeyFile(`${path}/none`), { state: "absent" });
    assert.throws(() => loadKeys(`${path}/none`), /does not exist; make one with bascule config/);
    assert.equal(checkKeyFile(path).state, "bad");
    const made = new Deno.Command("mkfifo", { args: ["-m", "600", `${path}/pipe`] }).outputSync();
    assert.ok(made.success);
    assert.equal(checkKeyFile(`${path}/pipe`).state, "bad");
  }),
);
