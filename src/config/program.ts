/**
 * Reads what it takes to start a program: arguments, environment, user.
 *
 * @module
 */

import { array, fail, type Reader, table, text } from "./schema.ts";

/** A program and its arguments; no shell in between. */
export const argv: Reader<readonly string[]> = (value, problems) => {
  if (value.kind === "string") {
    const example = JSON.stringify(value.value.split(/\s+/)).replaceAll(",", ", ");
    return fail(value, `a command is an array, no shell reads it; write ${example}`, problems);
  }
  const words = array(text, 1, "words")(value, problems);
  return words?.[0] === "" ? fail(value, "the program's name is empty; name one", problems) : words;
};

/** Environment variables by name. */
export const variables: Reader<Readonly<Record<string, string>>> = (value, problems) => {
  const body = table(value, problems);
  if (body === undefined) return undefined;
  const result: [string, string][] = [];
  for (const [name, entry] of body.entries) {
    const content = text(entry.value, problems);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      problems.error(
        entry.at,
        `${JSON.stringify(name)} cannot be a variable; use letters, digits and underscores`,
      );
    } else if (content !== undefined) result.push([name, content]);
  }
  return Object.fromEntries(result);
};

/** A user by name or number; whether it exists is known on the node only. */
export const userName: Reader<string> = (value, problems) => {
  const name = text(value, problems);
  if (name === undefined || /^([A-Za-z_][A-Za-z0-9._-]{0,31}|\d{1,10})$/.test(name)) return name;
  return fail(value, `${JSON.stringify(name)} is not a user; write a name or a number`, problems);
};
