/** A mutated copy of the tree in a temporary folder. */

import { applyPatch, type Mutation } from "./mutation.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** What the simulator needs. */
const COPIED = ["src", "tools/mutate", "main.ts", "deno.json", "deno.lock"];

/** Makes the copy, calls `work` with its folder, and removes it again. */
export async function withMutatedTree<Result>(
  mutation: Mutation,
  work: (folder: string) => Promise<Result>,
): Promise<Result> {
  const folder = await Deno.makeTempDir({ prefix: "bascule-mutated-" });
  try {
    for (const path of COPIED) copy(`${ROOT}${path}`, `${folder}/${path}`);
    for (const patch of mutation.patches) {
      const path = `${folder}/${patch.file}`;
      Deno.writeTextFileSync(path, applyPatch(Deno.readTextFileSync(path), patch));
    }
    return await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function copy(from: string, to: string): void {
  if (!Deno.statSync(from).isDirectory) {
    Deno.copyFileSync(from, to);
    return;
  }
  Deno.mkdirSync(to, { recursive: true });
  for (const { name } of Deno.readDirSync(from)) copy(`${from}/${name}`, `${to}/${name}`);
}
