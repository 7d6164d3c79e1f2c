/**
 * Everything that Linux offers and Deno does not: the only folder that calls the C library.
 *
 * - `engine.ts`: asynchronous disk and socket I/O of the data plane, one interface over io_uring
 *   (`io_uring_engine.ts` on `io_uring.ts`) or epoll (`epoll_engine.ts` on `epoll.ts`). Both share
 *   `engine_base.ts`, `op_table.ts` and `descriptor.ts`.
 * - `memory.ts`: memory at fixed addresses that the kernel may fill. `eventfd.ts`: wake a blocked
 *   thread.
 * - `sockets.ts`, `address.ts`: listeners, connections, and addresses as bytes.
 * - `packet.ts`, `frames.ts`: gratuitous ARP and neighbour discovery. `netlink.ts`: interfaces and
 *   their addresses.
 * - `files.ts`: disks, files that survive a power loss, the lock on the state directory.
 * - `scheduling.ts`: real time. `process.ts`: process groups and leftovers. `notify.ts`: systemd. `clock.ts`: clocks nobody sets.
 * - `libc.ts`, `errno.ts`: the calls themselves and their errors.
 *
 * Import the files one by one: loading `libc.ts` needs `--allow-ffi` and Linux. What is repeated here
 * is what nearly every user needs.
 *
 * @module
 */
export { createEngine, type Engine, type EngineChoice, type OnDone } from "./engine.ts";
export { Slab } from "./memory.ts";
export { OsError } from "./libc.ts";
export { ERRNO, errnoName, errnoText } from "./errno.ts";
