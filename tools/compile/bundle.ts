/**
 * The program as one JavaScript file: every module and npm package it uses, nothing left to resolve.
 *
 * @module
 */

/**
 * What the bundle does before the program's own first line: gives the environment, which the launcher
 * set up for deno, back the state in which the user started the program, so that nothing the agent
 * starts ever sees the difference. The kernel still shows the original. Workers run the same bundle
 * and leave the environment alone: it is the process's.
 */
function prelude(variables: readonly string[]): string {
  return `if (typeof WorkerGlobalScope === "undefined") {
  const before = Deno.readTextFileSync("/proc/self/environ").split("\\0");
  for (const name of ${JSON.stringify(variables)}) {
    const given = before.find((variable) => variable.startsWith(name + "="));
    if (given === undefined) Deno.env.delete(name);
    else Deno.env.set(name, given.slice(name.length + 1));
  }
}
`;
}

/**
 * Bundles `entry` and what it imports.
 *
 * @param root folder whose deno.json maps the imports
 * @param borrowed names of the environment variables to give back first
 * @returns the text of one ES module
 * @throws when deno cannot resolve or parse a module, with deno's own message
 */
export async function bundle(
  root: string,
  entry: string,
  borrowed: readonly string[],
): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", "--quiet", "--platform", "deno", "--packages", "bundle", entry],
    cwd: root,
    stdin: "null",
    env: { NO_COLOR: "1" },
  }).output();
  if (!success) {
    throw new Error(`cannot bundle ${entry}: ${new TextDecoder().decode(stderr).trim()}`);
  }
  return prelude(borrowed) + new TextDecoder().decode(stdout);
}
