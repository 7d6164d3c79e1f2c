/**
 * The registers as their clients see them: every read and change of a node is an operation with a
 * beginning and an end, and what it showed must fit one order that agrees with real time. As the
 * values of a register form one chain of versions (`register_watch.ts` sees to that), this is so if
 * no operation shows less than one that had ended before it began.
 */

import type { Attempt, Register } from "../cluster/register_state.ts";
import { Violation } from "./violation.ts";

/** An operation that has not ended. */
export interface RegisterOperation {
  readonly register: string;
  readonly began: number;
  /** The version that had been shown when it began. */
  readonly least: number;
}

/** See the module comment. */
export class RegisterClients {
  /** By register: the highest version that an operation showed. */
  readonly #shown = new Map<string, number>();
  /** Operations that ended and said what is chosen. */
  ended = 0;

  /** An operation begins. */
  begin(register: string, now: number): RegisterOperation {
    return { register, began: now, least: this.#shown.get(register) ?? 0 };
  }

  /** It ends and says what is chosen; 0: nothing. */
  end(
    { register, began, least }: RegisterOperation,
    version: number,
    now: number,
    who: string,
  ): void {
    this.ended++;
    if (version < least) {
      throw new Violation(
        "register",
        `an operation of ${who} on ${register} [${began.toFixed(1)}, ${now.toFixed(1)}] shows ` +
          `version ${version}; version ${least} had been shown before it began`,
      );
    }
    this.#shown.set(register, Math.max(version, this.#shown.get(register) ?? 0));
  }
}

/** Looks at the registers of one run of a core after each of its steps. */
export class RegisterObserver {
  readonly #clients: RegisterClients;
  readonly #who: string;
  readonly #running = new Map<
    string,
    { readonly attempt: Attempt; readonly operation: RegisterOperation }
  >();

  constructor(clients: RegisterClients, who: string) {
    this.#clients = clients;
    this.#who = who;
  }

  /** A step was made. */
  look(registers: Iterable<Register>, now: number): void {
    for (const register of registers) {
      const { name, attempt } = register;
      const before = this.#running.get(name);
      if (before?.attempt === attempt) continue;
      if (before !== undefined) {
        this.#running.delete(name);
        // Only an operation that said what is chosen moves this on, to its own beginning.
        const settled = register.confirmedAt === before.attempt.startedAt;
        const version = register.known?.record?.version ?? 0;
        if (settled) this.#clients.end(before.operation, version, now, this.#who);
      }
      if (attempt !== null) {
        this.#running.set(name, { attempt, operation: this.#clients.begin(name, now) });
      }
    }
  }
}
