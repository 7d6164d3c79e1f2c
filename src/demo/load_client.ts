/**
 * The demonstration's client: writes numbered records to the service's address without pause, tries
 * each one again until it is acknowledged, remembers what was acknowledged, and reads it all back.
 *
 * It is a process of its own, in the client's network namespace. Orders come as lines on standard
 * input (`load`, `pause`, `mark`, `verify`), reports leave as JSON lines on standard output.
 *
 * @module
 */
import {
  ANSWER_HEADER,
  Operation,
  readFull,
  RECORD_SIZE,
  recordContent,
  recordHash,
  REQUEST_HEADER,
  writeFull,
} from "./record_protocol.ts";

/** A request that takes longer is abandoned and tried anew on another connection; milliseconds. */
const PATIENCE = 250;
/** A SYN to an address that is moving is lost; the kernel would try again after a second. */
const CONNECT_PATIENCE = 100;
/** Pause between attempts while nobody answers, milliseconds. */
const RETRY = 10;

/** What the client reports. Times in milliseconds. */
export type LoadReport =
  | { readonly type: "progress"; readonly acknowledged: number }
  /** First acknowledgement after a gap of more than `PATIENCE`. */
  | { readonly type: "answered"; readonly afterMs: number }
  | { readonly type: "paused"; readonly acknowledged: number }
  /** Longest time between two acknowledgements since the last `mark`. */
  | { readonly type: "mark"; readonly longestGapMs: number }
  | {
    readonly type: "verified";
    readonly records: number;
    readonly bytes: number;
    readonly lost: number;
  };

/** Runs the client against the service at one of `hosts`, with at most `capacity` different records. */
export async function runLoadClient(
  hosts: readonly string[],
  port: number,
  capacity: number,
): Promise<void> {
  const client = new LoadClient(hosts, port, capacity);
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream());
  let rest = "";
  for await (const chunk of lines) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    for (const order of parts) await client.order(order.trim());
  }
}

class LoadClient {
  readonly #hosts: readonly string[];
  readonly #port: number;
  readonly #capacity: number;
  /** By record index: how often it was written, and the hash of what was acknowledged. */
  readonly #acknowledged = new Map<number, { generation: number; hash: string }>();
  #conn: Deno.TcpConn | null = null;
  #next = 0;
  #loading: Promise<void> | null = null;
  #wanted = false;
  #lastAck = 0;
  #longestGap = 0;
  #count = 0;
  #attempts = 0;

  constructor(hosts: readonly string[], port: number, capacity: number) {
    this.#hosts = hosts;
    this.#port = port;
    this.#capacity = capacity;
  }

  async order(order: string): Promise<void> {
    if (order === "load" && !this.#wanted) {
      this.#wanted = true;
      this.#lastAck = performance.now();
      this.#loading = this.#load();
    } else if (order === "pause") {
      this.#wanted = false;
      await this.#loading;
      emit({ type: "paused", acknowledged: this.#count });
    } else if (order === "mark") {
      const gap = Math.max(this.#longestGap, performance.now() - this.#lastAck);
      emit({ type: "mark", longestGapMs: gap });
      this.#longestGap = 0;
    } else if (order === "verify") {
      await this.#verify();
    }
  }

  async #load(): Promise<void> {
    let reported = performance.now();
    while (this.#wanted) {
      const index = this.#next % this.#capacity;
      const generation = Math.floor(this.#next / this.#capacity);
      const content = recordContent(index, generation);
      await this.#insist(Operation.write, index, content);
      this.#next++;
      this.#count++;
      this.#acknowledged.set(index, { generation, hash: recordHash(content) });
      const now = performance.now();
      const gap = now - this.#lastAck;
      this.#lastAck = now;
      this.#longestGap = Math.max(this.#longestGap, gap);
      if (gap > PATIENCE) emit({ type: "answered", afterMs: gap });
      if (now - reported > 100) {
        emit({ type: "progress", acknowledged: this.#count });
        reported = now;
      }
    }
  }

  async #verify(): Promise<void> {
    let lost = 0;
    for (const [index, { hash }] of this.#acknowledged) {
      const content = await this.#insist(Operation.read, index);
      if (recordHash(content) !== hash) lost++;
    }
    const records = this.#acknowledged.size;
    emit({ type: "verified", records, bytes: records * RECORD_SIZE, lost });
  }

  /** Tries until it is answered: an acknowledgement is all that counts. */
  async #insist(operation: number, index: number, content?: Uint8Array): Promise<Uint8Array> {
    while (true) {
      try {
        return await this.#exchange(operation, index, content);
      } catch {
        this.#drop();
        await new Promise((resolve) => setTimeout(resolve, RETRY));
      }
    }
  }

  async #exchange(operation: number, index: number, content?: Uint8Array): Promise<Uint8Array> {
    const conn = this.#conn ??= await this.#connect();
    const timer = setTimeout(() => this.#drop(), PATIENCE);
    try {
      const request = new Uint8Array(REQUEST_HEADER + (content?.length ?? 0));
      const view = new DataView(request.buffer);
      view.setUint32(0, operation);
      view.setUint32(4, index);
      if (content) request.set(content, REQUEST_HEADER);
      await writeFull(conn, request);
      const answer = new Uint8Array(ANSWER_HEADER + (content ? 0 : RECORD_SIZE));
      if (!await readFull(conn, answer)) throw new Deno.errors.UnexpectedEof("no answer");
      return answer.subarray(ANSWER_HEADER);
    } finally {
      clearTimeout(timer);
    }
  }

  async #connect(): Promise<Deno.TcpConn> {
    const signal = AbortSignal.timeout(CONNECT_PATIENCE);
    // The next address in turn: where there is no virtual one, the client has to look for the service.
    const hostname = this.#hosts[this.#attempts++ % this.#hosts.length] ?? "";
    const conn = await Deno.connect({ hostname, port: this.#port, signal });
    conn.setNoDelay(true);
    return conn;
  }

  #drop(): void {
    try {
      this.#conn?.close();
    } catch {
      // Closed already.
    }
    this.#conn = null;
  }
}

function emit(report: LoadReport): void {
  const line = new TextEncoder().encode(`${JSON.stringify(report)}\n`);
  for (let at = 0; at < line.length;) at += Deno.stdout.writeSync(line.subarray(at));
}
