/** Looks up the account that a process runs under. */

/** What a child needs of an account. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/**
 * The account of a user name or number, from /etc/passwd, else from `getent`, which also knows
 * directory services. Rejects when there is none.
 */
export async function findAccount(user: string): Promise<Account> {
  const local = parsePasswd(await Deno.readTextFile("/etc/passwd"), user);
  if (local !== undefined) return local;
  const named = await askGetent(user);
  if (named !== undefined) return named;
  throw new Error(`user ${user} does not exist on this node; create it or change user`);
}

/** The account in text in the format of passwd(5); undefined when it is not there. */
export function parsePasswd(text: string, user: string): Account | undefined {
  for (const line of text.split("\n")) {
    const [name, , uid, gid, , home] = line.split(":");
    if (uid === undefined || gid === undefined || (name !== user && uid !== user)) continue;
    if (!/^\d+$/.test(uid) || !/^\d+$/.test(gid)) continue;
    return { uid: Number(uid), gid: Number(gid), home: home || "/" };
  }
  return undefined;
}

async function askGetent(user: string): Promise<Account | undefined> {
  try {
    const { stdout } = await new Deno.Command("getent", {
      args: ["passwd", user],
      stdin: "null",
      stderr: "null",
      signal: AbortSignal.timeout(5_000),
    }).output();
    return parsePasswd(new TextDecoder().decode(stdout), user);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
