/**
 * Memory that the kernel may write into while JavaScript does something else.
 *
 * A V8 typed array may be moved or freed by the garbage collector, so nothing that outlives one
 * system call may live in it. A {@link Slab} is an anonymous mapping: page-aligned (as `O_DIRECT`
 * wants), at a fixed address, seen by JavaScript as an ordinary `Uint8Array` and `DataView`.
 *
 * @module
 */
import { libc, PAGE_SIZE, throwErrno } from "./libc.ts";

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
const MAP_POPULATE = 0x8000;

/** The largest length of one read or write that Linux carries out in one go (MAX_RW_COUNT). */
export const MAX_IO_LENGTH = 0x7ffff000;

/** A mapped region: its address as a number (user addresses stay below 2^53) and its bytes. */
export interface Mapping {
  readonly address: number;
  readonly buffer: ArrayBuffer;
}

function map(length: number, flags: number, fd: number, offset: number, what: string): Mapping {
  const pointer = libc.mmap(null, length, PROT_READ | PROT_WRITE, flags, fd, offset);
  const address = Number(Deno.UnsafePointer.value(pointer));
  // MAP_FAILED is (void *)-1, which reads back as 2^64 - 1.
  if (pointer === null || address > Number.MAX_SAFE_INTEGER) throwErrno("mmap", what);
  return { address, buffer: Deno.UnsafePointerView.getArrayBuffer(pointer, length) };
}

/** Map `length` bytes of the file `fd` at `offset`, shared with the kernel, faulted in at once. */
export function mapShared(fd: number, offset: number, length: number, what: string): Mapping {
  return map(length, MAP_SHARED | MAP_POPULATE, fd, offset, what);
}

/** Give a mapping back. Every view of it is dangling afterwards: drop them first. */
export function unmap(address: number, length: number): void {
  if (libc.munmap(address, length) < 0) throwErrno("munmap", `0x${address.toString(16)}`);
}

/** A page-aligned memory area at a fixed address. */
export class Slab {
  /** All bytes of the area. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same bytes, for integers at any alignment and in any byte order. */
  readonly view: DataView<ArrayBuffer>;
  /** Address of the first byte. */
  readonly address: number;
  /** Size in bytes, a whole number of pages. */
  readonly length: number;
  #freed = false;

  private constructor(mapping: Mapping, length: number) {
    this.address = mapping.address;
    this.length = length;
    this.bytes = new Uint8Array(mapping.buffer);
    this.view = new DataView(mapping.buffer);
  }

  /**
   * Map at least `length` bytes of zeroes, rounded up to whole pages; pages cost memory when first
   * touched. Throws an OsError when the kernel refuses.
   */
  static allocate(length: number): Slab {
    if (!Number.isSafeInteger(length) || length < 1) {
      throw new RangeError(`Slab.allocate: length ${length} is not a positive whole number`);
    }
    const rounded = Math.ceil(length / PAGE_SIZE) * PAGE_SIZE;
    const mapping = map(rounded, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, `${rounded} bytes`);
    return new Slab(mapping, rounded);
  }

  /**
   * Address of `length` bytes at `offset`, after the check that they lie inside: the kernel would
   * write past the end without a word.
   */
  at(offset: number, length: number): number {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.length) || this.#freed) {
      throw new RangeError(
        `Slab: ${length} bytes at ${offset} ${
          this.#freed ? "of a freed area" : `reach outside ${this.length} bytes`
        }`,
      );
    }
    return this.address + offset;
  }

  /**
   * Unmap the area. Only when no operation on it is pending; touching `bytes` or `view` afterwards
   * is a segmentation fault, so drop every copy of them. Freeing twice does nothing.
   */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    unmap(this.address, this.length);
  }
}
