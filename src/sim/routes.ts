/**
 * Names of routes through the network: `a>b/0` (from a to b on link 0), `a-b` (both directions, all
 * paths), `a-*\/r` (everything of a's replication). Names of nodes may hold dashes themselves.
 */

/** One direction on one path. */
export interface Route {
  readonly from: number;
  readonly to: number;
  /** Index of a link; from the number of links on: a path of replication alone. */
  readonly path: number;
}

/** What a pattern of routes can name. */
export interface Places {
  readonly nodes: readonly string[];
  readonly links: number;
  /** Links, and one more if replication has a path of its own. */
  readonly paths: number;
  /** Paths that carry replication. */
  readonly replication: readonly number[];
}

/** A pattern that names nothing; the message says what it could name. */
export class RouteError extends Error {
  override readonly name = "RouteError";
}

/** All routes that a pattern names. Throws a {@linkcode RouteError}. */
export function routesOf(pattern: string, places: Places): Route[] {
  const slash = pattern.lastIndexOf("/");
  const ends = slash < 0 ? pattern : pattern.slice(0, slash);
  const paths = pathsOf(pattern, slash < 0 ? "*" : pattern.slice(slash + 1), places);
  const { from, to, both } = endsOf(pattern, ends, places);
  const routes: Route[] = [];
  for (let a = 0; a < places.nodes.length; a++) {
    for (let b = 0; b < places.nodes.length; b++) {
      if (a === b) continue;
      const named = (from < 0 || from === a) && (to < 0 || to === b) ||
        both && (from < 0 || from === b) && (to < 0 || to === a);
      if (named) { for (const path of paths) routes.push({ from: a, to: b, path }); }
    }
  }
  return routes;
}

function pathsOf(pattern: string, text: string, places: Places): number[] {
  if (text === "*") return Array.from({ length: places.paths }, (_, path) => path);
  if (text === "r") return [...places.replication];
  const link = Number(text);
  if (/^\d+$/.test(text) && link < places.links) return [link];
  throw new RouteError(
    `${pattern}: no link is called ${text}; there are ${
      Array.from({ length: places.links }, (_, each) => each).join(", ")
    } and r for replication`,
  );
}

/** Indices of both ends, -1 for any. */
function endsOf(
  pattern: string,
  text: string,
  { nodes }: Places,
): { from: number; to: number; both: boolean } {
  const index = (name: string) => name === "*" ? -1 : nodes.indexOf(name);
  for (let at = 1; at < text.length - 1; at++) {
    const sign = text[at];
    if (sign !== "-" && sign !== ">") continue;
    const [first, second] = [text.slice(0, at), text.slice(at + 1)];
    const known = (name: string) => name === "*" || nodes.includes(name);
    if (!known(first) || !known(second) || (first === second && first !== "*")) continue;
    return { from: index(first), to: index(second), both: sign === "-" };
  }
  throw new RouteError(
    `${pattern}: names no two nodes; write NODE-NODE for both directions or NODE>NODE for one, ` +
      `with /LINK for one link. The nodes are ${nodes.join(", ")}, and * stands for any`,
  );
}
