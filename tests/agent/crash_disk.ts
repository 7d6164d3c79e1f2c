/**
 * A disk that crashes: records what production code does to the files of one directory, makes any one of
 * these operations fail, and rebuilds the directory as a power loss after any of them may leave it.
 *
 * What is certain is what was synced: the content of a file by its own sync, a name (made, renamed) by
 * its directory's. Of what came later, in order, any part may have reached the disk, the last write only
 * up to any byte, perhaps with zeroes in its place. Only a write over bytes of one sector that are there
 * already is done or not done.
 */

/** Unit of power-safe writing, bytes. */
const SECTOR = 512;

/** One thing done to the disk. */
type Operation =
  | { readonly what: "create"; readonly path: string; readonly file: number }
  | { readonly what: "truncate"; readonly file: number; readonly length: number }
  | {
    readonly what: "write";
    readonly file: number;
    readonly at: number;
    readonly bytes: Uint8Array;
  }
  | { readonly what: "sync"; readonly file: number }
  | { readonly what: "rename"; readonly from: string; readonly to: string }
  | { readonly what: "syncDirectory" };

/** A directory's files by path. */
export type Contents = ReadonlyMap<string, Uint8Array>;

interface Opened {
  readonly file: number;
  position: number;
}

/** See the module comment. Everything outside `dir` is left alone. */
export class CrashDisk {
  readonly #dir: string;
  readonly operations: Operation[] = [];
  readonly #opened = new WeakMap<Deno.FsFile, Opened>();
  readonly #directories = new WeakSet<Deno.FsFile>();
  readonly #names = new Map<string, number>();
  #files = 0;
  readonly #sizes = new Map<number, number>();
  /** Index of the operation that fails; -1: none does. */
  #failing = -1;
  #short = false;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Runs `body` while the disk is watched. `failing`: this operation throws, `short`: half done. */
  watch(body: () => void, failing = -1, short = false): void {
    this.#failing = failing;
    this.#short = short;
    const real = { openSync: Deno.openSync, renameSync: Deno.renameSync };
    const file = Deno.FsFile.prototype;
    const { writeSync, seekSync, syncSync, syncDataSync, truncateSync } = file;
    const begin = this.#begin.bind(this);
    const opened = this.#opened;
    const directories = this.#directories;
    const files = Object.assign(Deno, {
      openSync: (path: string, options: Deno.OpenOptions = {}) => this.#open(real, path, options),
      renameSync: (from: string, to: string) => {
        if (from.startsWith(this.#dir)) begin({ what: "rename", from, to });
        real.renameSync(from, to);
        const moved = this.#names.get(from);
        if (moved === undefined) return;
        this.#names.delete(from);
        this.#names.set(to, moved);
      },
    });
    file.seekSync = function (offset, whence) {
      const entry = opened.get(this);
      if (entry !== undefined) entry.position = Number(offset);
      return seekSync.call(this, offset, whence);
    };
    file.writeSync = function (bytes) {
      const entry = opened.get(this);
      if (entry === undefined) return writeSync.call(this, bytes);
      const half = (part: Uint8Array) => void writeSync.call(this, part);
      begin({ what: "write", file: entry.file, at: entry.position, bytes: bytes.slice() }, half);
      const written = writeSync.call(this, bytes);
      entry.position += written;
      return written;
    };
    const sync = (perform: () => void) =>
      function (this: Deno.FsFile) {
        const entry = opened.get(this);
        if (entry !== undefined) begin({ what: "sync", file: entry.file });
        else if (directories.has(this)) begin({ what: "syncDirectory" });
        perform.call(this);
      };
    file.syncSync = sync(syncSync);
    file.syncDataSync = sync(syncDataSync);
    file.truncateSync = function (length = 0) {
      const entry = opened.get(this);
      if (entry !== undefined) begin({ what: "truncate", file: entry.file, length });
      truncateSync.call(this, length);
    };
    try {
      body();
    } finally {
      Object.assign(files, real);
      Object.assign(file, { writeSync, seekSync, syncSync, syncDataSync, truncateSync });
    }
  }

  #open(
    real: { readonly openSync: typeof Deno.openSync },
    path: string,
    options: Deno.OpenOptions,
  ): Deno.FsFile {
    const inside = path.startsWith(this.#dir) && !path.endsWith(".lock");
    if (!inside) return real.openSync(path, options);
    if (path === this.#dir) {
      const handle = real.openSync(path, options);
      this.#directories.add(handle);
      return handle;
    }
    let file = this.#names.get(path);
    if (file === undefined) {
      file = ++this.#files;
      this.#begin({ what: "create", path, file });
      this.#names.set(path, file);
    } else if (options.truncate === true) this.#begin({ what: "truncate", file, length: 0 });
    const handle = real.openSync(path, options);
    this.#opened.set(handle, { file, position: 0 });
    return handle;
  }

  /** Before an operation is carried out: it is noted, or it fails. */
  #begin(operation: Operation, half?: (part: Uint8Array) => void): void {
    if (this.operations.length === this.#failing) {
      this.#failing = -1;
      if (this.#short && operation.what === "write") {
        const size = this.#sizes.get(operation.file) ?? 0;
        // Room that is there already is not refused in part.
        if (!isWithinSector(operation, size)) {
          half?.(operation.bytes.subarray(0, operation.bytes.length >> 1));
        }
      }
      throw Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
    }
    this.operations.push(operation);
    if (operation.what === "truncate") this.#sizes.set(operation.file, operation.length);
    if (operation.what === "write") {
      const size = this.#sizes.get(operation.file) ?? 0;
      const { at, bytes } = operation;
      this.#sizes.set(operation.file, Math.max(size, at + bytes.length));
    }
  }

  /** Every state that a power loss after the first `count` operations may leave. */
  *statesAfter(count: number): Generator<Contents> {
    const done = this.operations.slice(0, count);
    const names: Operation[] = [];
    const sure = new Map<string, number>();
    const nameEvents: Operation[] = [];
    for (const operation of done) {
      if (operation.what === "create" || operation.what === "rename") nameEvents.push(operation);
      if (operation.what !== "syncDirectory") continue;
      for (const event of nameEvents.splice(0)) applyName(sure, event);
    }
    names.push(...nameEvents);
    for (let known = 0; known <= names.length; known++) {
      const entries = new Map(sure);
      for (const event of names.slice(0, known)) applyName(entries, event);
      yield* combine([...entries].map(([path, file]) => [path, [...contentsOf(done, file)]]));
    }
  }
}

function applyName(names: Map<string, number>, event: Operation): void {
  if (event.what === "create") names.set(event.path, event.file);
  if (event.what !== "rename") return;
  const file = names.get(event.from);
  if (file === undefined) return;
  names.delete(event.from);
  names.set(event.to, file);
}

/** What a file may hold after a power loss. */
function* contentsOf(done: readonly Operation[], file: number): Generator<Uint8Array> {
  const own = done.filter((each) => "file" in each && each.file === file);
  const synced = own.findLastIndex(({ what }) => what === "sync");
  let content: Uint8Array = new Uint8Array(0);
  for (const operation of own.slice(0, synced + 1)) content = applied(content, operation);
  yield content;
  for (const operation of own.slice(synced + 1)) {
    if (operation.what === "write" && !isWithinSector(operation, content.length)) {
      const { bytes } = operation;
      for (let cut = 1; cut < bytes.length; cut++) {
        yield applied(content, { ...operation, bytes: bytes.subarray(0, cut) });
      }
      yield applied(content, { ...operation, bytes: new Uint8Array(bytes.length) });
    }
    content = applied(content, operation);
    yield content;
  }
}

function isWithinSector(
  { at, bytes }: { readonly at: number; readonly bytes: Uint8Array },
  size: number,
): boolean {
  const last = at + bytes.length - 1;
  return last < size && Math.floor(at / SECTOR) === Math.floor(last / SECTOR);
}

function applied(content: Uint8Array, operation: Operation): Uint8Array {
  if (operation.what === "truncate") {
    const cut = new Uint8Array(operation.length);
    cut.set(content.subarray(0, operation.length));
    return cut;
  }
  if (operation.what !== "write") return content;
  const { at, bytes } = operation;
  const longer = new Uint8Array(Math.max(content.length, at + bytes.length));
  longer.set(content);
  longer.set(bytes, at);
  return longer;
}

/**
 * One choice for each path at a time, the others at their oldest or newest: all pairs would be too many.
 * What a file holds that still has its temporary name is nobody's business.
 */
function* combine(
  choices: readonly (readonly [path: string, contents: readonly Uint8Array[]])[],
): Generator<Contents> {
  for (const base of [0, -1]) {
    const rest = new Map(choices.map(([path, contents]) => [path, contents.at(base)!]));
    yield rest;
    for (const [path, contents] of choices) {
      if (path.endsWith(".new")) continue;
      for (const content of contents) yield new Map(rest).set(path, content);
    }
  }
}

/** Makes a directory that holds exactly these files; their paths are moved from `from` to `to`. */
export function materialize(contents: Contents, from: string, to: string): void {
  Deno.removeSync(to, { recursive: true });
  Deno.mkdirSync(to);
  for (const [path, content] of contents) {
    Deno.writeFileSync(path.replace(from, to), content);
  }
}

/** Runs `body` without waiting for the real disk: what it leaves is looked at, not crashed. */
export function withoutSync<Result>(body: () => Result): Result {
  const file = Deno.FsFile.prototype;
  const { syncSync, syncDataSync } = file;
  file.syncSync = file.syncDataSync = () => {};
  try {
    return body();
  } finally {
    Object.assign(file, { syncSync, syncDataSync });
  }
}
