/**
 * epoll(7) without allocation: one instance and its array of events.
 *
 * @module
 */
import { check, IS_X86_64, libc, negErrno } from "./libc.ts";
import { Slab } from "./memory.ts";

/** Event bits. */
export const EPOLL = {
  IN: 1,
  OUT: 4,
  ERR: 8,
  HUP: 16,
  RDHUP: 0x2000,
  ET: 0x80000000,
} as const;

const EPOLL_CLOEXEC = 0o2000000;
const CTL_ADD = 1;
const CTL_DEL = 2;
/** `struct epoll_event` is packed on x86_64 only. */
const EVENT_SIZE = IS_X86_64 ? 12 : 16;
const DATA_OFFSET = IS_X86_64 ? 4 : 8;
const MAX_EVENTS = 256;

/** An epoll instance. */
export class Epoll {
  /** Its descriptor. */
  readonly fd: number;
  readonly #slab = Slab.allocate((MAX_EVENTS + 1) * EVENT_SIZE);
  readonly #change = MAX_EVENTS * EVENT_SIZE;

  constructor() {
    this.fd = check(libc.epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  }

  /** Watch a descriptor for these events. Returns 0 or a negated errno (-EPERM: a plain file). */
  add(fd: number, events: number): number {
    const view = this.#slab.view;
    view.setUint32(this.#change, events, true);
    view.setUint32(this.#change + DATA_OFFSET, fd, true);
    view.setUint32(this.#change + DATA_OFFSET + 4, 0, true);
    const address = this.#slab.at(this.#change, EVENT_SIZE);
    return negErrno(libc.epoll_ctl(this.fd, CTL_ADD, fd, address));
  }

  /** Watch a descriptor no more. */
  remove(fd: number): void {
    const address = this.#slab.at(this.#change, EVENT_SIZE);
    check(libc.epoll_ctl(this.fd, CTL_DEL, fd, address), "epoll_ctl", `descriptor ${fd}`);
  }

  /**
   * Wait at most `timeoutMs` (rounded up to whole milliseconds; negative: without end). Returns how
   * many events there are, at most 256, or a negated errno (-EINTR).
   */
  wait(timeoutMs: number): number {
    const timeout = timeoutMs < 0 ? -1 : Math.min(Math.ceil(timeoutMs), 0x7fffffff);
    return negErrno(libc.epoll_wait(this.fd, this.#slab.address, MAX_EVENTS, timeout));
  }

  /** Event bits of event `index` of the last wait. */
  events(index: number): number {
    return this.#slab.view.getUint32(index * EVENT_SIZE, true);
  }

  /** Descriptor of event `index` of the last wait. */
  descriptor(index: number): number {
    return this.#slab.view.getInt32(index * EVENT_SIZE + DATA_OFFSET, true);
  }

  /** Close the instance. */
  close(): void {
    this.#slab.free();
    check(libc.close(this.fd), "close", "epoll");
  }
}
