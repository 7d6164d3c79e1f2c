/** qemu-io, told one command after the other. */
export class QemuIo {
  /** All that it said. */
  said = "";
  readonly #child: Deno.ChildProcess;
  readonly #commands: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #reading: Promise<void>;
  #heard = () => {};

  /** Starts it by this command. */
  constructor([command, ...args]: readonly [string, ...string[]]) {
    this.#child = new Deno.Command(command, {
      args,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#commands = this.#child.stdin.getWriter();
    this.#reading = this.#read();
  }

  /** Carries a read or write out; rejects when its end is not told in 40 seconds. */
  async done(command: string): Promise<void> {
    const before = this.#ops();
    await this.#commands.write(new TextEncoder().encode(`${command}\n`));
    for (const deadline = performance.now() + 40_000; this.#ops() === before;) {
      if (performance.now() > deadline) throw new Error(`${command}: no end\n${this.said}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#heard = resolve;
      const timer = setTimeout(resolve, 200);
      await promise;
      clearTimeout(timer);
    }
  }

  /** Ends it. */
  async quit(): Promise<void> {
    await this.#commands.write(new TextEncoder().encode("quit\n"));
    await this.#commands.close();
    await this.#reading;
    await this.#child.status;
  }

  #ops(): number {
    return this.said.split("ops/sec").length;
  }

  async #read(): Promise<void> {
    for await (const bytes of this.#child.stdout) {
      this.said += new TextDecoder().decode(bytes);
      this.#heard();
    }
  }
}
