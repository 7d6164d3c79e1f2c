/**
 * The {@link Engine} for kernels without io_uring: epoll for sockets, plain system calls for disks.
 *
 * A disk operation is carried out while it is started and reported by the next `wait`; so a slow
 * disk holds up the sockets, which io_uring avoids. A socket operation is tried at once and, when
 * it would block, again after the next event. Each descriptor is registered once, edge-triggered.
 *
 * @module
 */
import type { Descriptor } from "./descriptor.ts";
import type { Engine } from "./engine.ts";
import { BaseEngine, RWF_DSYNC } from "./engine_base.ts";
import { EPOLL, Epoll } from "./epoll.ts";
import { ERRNO } from "./errno.ts";
import { lastErrno, libc, negErrno, OsError } from "./libc.ts";
import { Slab } from "./memory.ts";
import { KIND, NO_SLOT } from "./op_table.ts";

const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const POLLIN = 1;
const POLLOUT = 4;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const EVENTS = EPOLL.IN | EPOLL.OUT | EPOLL.RDHUP | EPOLL.ET;

class EpollEngine extends BaseEngine {
  readonly name = "epoll";
  protected readonly nonBlocking = true;
  readonly #epoll = new Epoll();
  readonly #iovec = Slab.allocate(16);
  readonly #pollfd = new Int32Array(2);
  readonly #option = new Int32Array(1);
  readonly #optionLength = new Uint32Array(1);
  readonly #name = new Uint8Array(128);
  readonly #nameLength = new Uint32Array(1);

  protected startDisk(_descriptor: Descriptor, slot: number): void {
    const ops = this.ops;
    switch (ops.kind[slot]) {
      case KIND.READ:
      case KIND.WRITE:
        return this.finish(slot, this.#transfer(slot));
      case KIND.FLUSH:
        return this.finish(slot, this.#uninterrupted(() => libc.fdatasync(ops.fd[slot]!)));
      default: {
        const fd = ops.fd[slot]!;
        const mode = ops.flags[slot]!;
        const position = ops.position[slot]!;
        const length = ops.length[slot]!;
        const result = this.#uninterrupted(() => libc.fallocate(fd, mode, position, length));
        return this.finish(slot, result);
      }
    }
  }

  protected startIncoming(descriptor: Descriptor): void {
    if (this.#register(descriptor) && descriptor.readable) this.#pumpIncoming(descriptor);
  }

  protected startAccept(descriptor: Descriptor, slot: number): void {
    descriptor.incoming.push(this.ops, slot);
    this.startIncoming(descriptor);
  }

  protected startConnect(descriptor: Descriptor, slot: number): void {
    descriptor.watching.push(this.ops, slot);
    if (!this.#register(descriptor)) return;
    const sockaddr = descriptor.sockaddr(this.ops.position[slot]!);
    const result = negErrno(libc.connect(descriptor.fd, sockaddr, sockaddr.length));
    // An interrupted connect goes on in the background like one in progress (POSIX).
    if (result !== -ERRNO.EINPROGRESS && result !== -ERRNO.EINTR) {
      this.#unwatch(descriptor, slot);
      this.finish(slot, result);
    }
  }

  protected startPoll(descriptor: Descriptor, slot: number): void {
    descriptor.watching.push(this.ops, slot);
    // Registered first, so that an event between the two steps is not lost.
    if (this.#register(descriptor)) this.#checkWatching(descriptor);
  }

  protected startSends(descriptor: Descriptor): void {
    if (this.#register(descriptor) && descriptor.writable) this.#pumpOutgoing(descriptor);
  }

  protected cancelAll(descriptor: Descriptor): void {
    this.#finishAll(descriptor, -ERRNO.ECANCELED);
  }

  protected collect(timeoutMs: number): void {
    // Sends may have finished just now.
    const count = this.#epoll.wait(this.done.length > 0 ? 0 : timeoutMs);
    if (count < 0) {
      if (count === -ERRNO.EINTR) return;
      throw new OsError("epoll_wait", count);
    }
    for (let index = 0; index < count; index++) {
      const descriptor = this.descriptors[this.#epoll.descriptor(index)];
      if (descriptor === undefined) continue;
      const events = this.#epoll.events(index);
      const broken = EPOLL.ERR | EPOLL.HUP;
      this.#checkWatching(descriptor);
      if ((events & (EPOLL.IN | EPOLL.RDHUP | broken)) !== 0) {
        descriptor.readable = true;
        this.#pumpIncoming(descriptor);
      }
      if ((events & (EPOLL.OUT | broken)) !== 0) {
        descriptor.writable = true;
        this.#pumpOutgoing(descriptor);
      }
    }
  }

  protected forget(descriptor: Descriptor): void {
    // Whoever has the descriptor next keeps it open, and the kernel would go on reporting it here.
    if (descriptor.registered) this.#epoll.remove(descriptor.fd);
  }

  protected release(): void {
    this.#epoll.close();
    this.#iovec.free();
  }

  /** Have events reported. False: the kernel refuses, and everything on the descriptor failed. */
  #register(descriptor: Descriptor): boolean {
    if (descriptor.registered) return true;
    const result = this.#epoll.add(descriptor.fd, EVENTS);
    if (result < 0 && result !== -ERRNO.EEXIST) {
      this.#finishAll(descriptor, result);
      return false;
    }
    descriptor.registered = true;
    return true;
  }

  #finishAll(descriptor: Descriptor, result: number): void {
    const ops = this.ops;
    this.finishChain(descriptor.incoming.cutAfter(ops, NO_SLOT), result);
    this.finishChain(descriptor.watching.cutAfter(ops, NO_SLOT), result);
    this.failSends(descriptor, result);
  }

  /** pread or pwrite until all is done, the file ends, or an error comes. */
  #transfer(slot: number): number {
    const ops = this.ops;
    const fd = ops.fd[slot]!;
    const address = ops.address[slot]!;
    const length = ops.length[slot]!;
    const position = ops.position[slot]!;
    let done = 0;
    do {
      const result = ops.kind[slot] === KIND.READ
        ? negErrno(libc.pread64(fd, address + done, length - done, position + done))
        : this.#write(fd, address + done, length - done, position + done, ops.flags[slot]!);
      if (result === -ERRNO.EINTR) continue;
      if (result < 0) return result;
      if (result === 0) break;
      done += result;
    } while (done < length);
    return done;
  }

  #write(fd: number, address: number, length: number, position: number, flags: number): number {
    if (flags !== RWF_DSYNC) return negErrno(libc.pwrite64(fd, address, length, position));
    const view = this.#iovec.view;
    view.setUint32(0, address % 4294967296, true);
    view.setUint32(4, address / 4294967296, true);
    view.setUint32(8, length, true);
    view.setUint32(12, 0, true);
    return negErrno(libc.pwritev2(fd, this.#iovec.address, 1, position, RWF_DSYNC));
  }

  #uninterrupted(call: () => number): number {
    for (;;) {
      const result = call();
      if (result >= 0) return result;
      const errno = lastErrno();
      if (errno !== ERRNO.EINTR) return -errno;
    }
  }

  #pumpIncoming(descriptor: Descriptor): void {
    const ops = this.ops;
    const fd = descriptor.fd;
    for (;;) {
      const slot = descriptor.incoming.head;
      if (slot === NO_SLOT) return;
      const kind = ops.kind[slot]!;
      const done = ops.done[slot]!;
      const length = ops.length[slot]!;
      const result = negErrno(
        kind === KIND.ACCEPT
          ? libc.accept4(fd, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK)
          : libc.recv(fd, ops.address[slot]! + done, length - done, MSG_DONTWAIT),
      );
      if (result === -ERRNO.EINTR) continue;
      if (result === -ERRNO.EAGAIN) {
        descriptor.readable = false;
        return;
      }
      if (kind === KIND.RECV_ALL && result > 0 && done + result < length) {
        ops.done[slot] = done + result;
        continue;
      }
      descriptor.incoming.shift(ops);
      this.finish(slot, kind === KIND.RECV_ALL && result >= 0 ? done + result : result);
    }
  }

  #pumpOutgoing(descriptor: Descriptor): void {
    const { fd, outgoing } = descriptor;
    while (outgoing.head !== NO_SLOT) {
      const pieces = descriptor.gather(this.ops);
      descriptor.lastSending = NO_SLOT;
      const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
      let result = 0;
      if (pieces === 1) {
        const { firstPieceAddress, firstPieceLength } = descriptor;
        result = negErrno(libc.send(fd, firstPieceAddress, firstPieceLength, flags));
      } else if (pieces > 1) {
        result = negErrno(libc.sendmsg(fd, descriptor.messageAddress, flags));
      }
      if (result === -ERRNO.EINTR) continue;
      if (result === -ERRNO.EAGAIN) {
        descriptor.writable = false;
        return;
      }
      if (result < 0) this.failSends(descriptor, result);
      else this.settleSends(descriptor, result);
    }
  }

  /** See whether polls and a connect are finished by now. */
  #checkWatching(descriptor: Descriptor): void {
    if (descriptor.watching.head === NO_SLOT) return;
    const ops = this.ops;
    for (let slot = descriptor.watching.cutAfter(ops, NO_SLOT); slot !== NO_SLOT;) {
      const next = ops.next[slot]!;
      const result = ops.kind[slot] === KIND.POLL
        ? this.#poll(descriptor.fd, POLLIN)
        : this.#connected(descriptor.fd);
      if (result === -ERRNO.EAGAIN) descriptor.watching.push(ops, slot);
      else this.finish(slot, result);
      slot = next;
    }
  }

  #unwatch(descriptor: Descriptor, wanted: number): void {
    const ops = this.ops;
    for (let slot = descriptor.watching.cutAfter(ops, NO_SLOT); slot !== NO_SLOT;) {
      const next = ops.next[slot]!;
      if (slot !== wanted) descriptor.watching.push(ops, slot);
      slot = next;
    }
  }

  /** Event bits that are there now; -EAGAIN for none. */
  #poll(fd: number, events: number): number {
    this.#pollfd[0] = fd;
    this.#pollfd[1] = events;
    const count = negErrno(libc.poll(this.#pollfd, 1, 0));
    if (count <= 0) return count === 0 || count === -ERRNO.EINTR ? -ERRNO.EAGAIN : count;
    return this.#pollfd[1]! >>> 16;
  }

  /** How a connect ended: 0, a negated errno, or -EAGAIN while it goes on. */
  #connected(fd: number): number {
    if (this.#poll(fd, POLLOUT) === -ERRNO.EAGAIN) return -ERRNO.EAGAIN;
    this.#optionLength[0] = 4;
    libc.getsockopt(fd, SOL_SOCKET, SO_ERROR, this.#option, this.#optionLength);
    if (this.#option[0] !== 0) return -this.#option[0]!;
    // A socket that has not begun to connect is "hung up" and has no error.
    this.#nameLength[0] = this.#name.length;
    const result = negErrno(libc.getpeername(fd, this.#name, this.#nameLength));
    return result === -ERRNO.ENOTCONN ? -ERRNO.EAGAIN : result;
  }
}

/** Make an engine over epoll and plain system calls. */
export function createEpollEngine(): Engine {
  return new EpollEngine();
}
