import assert from "node:assert/strict";
import { findProgram, Missing } from "../../src/resource/program.ts";

Deno.test("programs are found as execvp finds them, and what is wrong is told apart", () => {
  const directory = Deno.makeTempDirSync();
  try {
    Deno.mkdirSync(`${directory}/bin`);
    Deno.writeTextFileSync(`${directory}/bin/tool`, "#!/bin/sh\n", { mode: 0o755 });
    Deno.writeTextFileSync(`${directory}/bin/text`, "no program\n", { mode: 0o644 });
    const path = `/nonexistent:${directory}/bin`;
    assert.equal(findProgram("tool", path), `${directory}/bin/tool`);
    assert.equal(findProgram(`${directory}/bin/tool`, ""), `${directory}/bin/tool`);
    assert.equal(findProgram("bin/tool", "", directory), `${directory}/bin/tool`);
    assert.throws(() => findProgram("text", path), Deno.errors.PermissionDenied);
    assert.throws(() => findProgram("other", path), Missing);
    assert.throws(() => findProgram("bin", directory), Missing, "a directory is no program");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
