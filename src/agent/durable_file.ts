/** Writes that count only when they are on stable storage: whole, and their names too. */

/** Writes all of `bytes` at `offset`. Throws what the disk refuses. */
export function writeAt(file: Deno.FsFile, offset: number, bytes: Uint8Array): void {
  file.seekSync(offset, Deno.SeekMode.Start);
  let at = 0;
  while (at < bytes.length) {
    const written = file.writeSync(bytes.subarray(at));
    if (written <= 0) throw new Error(`a write of ${bytes.length - at} bytes wrote nothing`);
    at += written;
  }
}

/** Makes the names in a directory (new, renamed, removed) durable. */
export function syncDirectory(dir: string): void {
  const handle = Deno.openSync(dir, { read: true });
  try {
    handle.syncSync();
  } finally {
    handle.close();
  }
}

/**
 * Puts a file of this content into place in one step: a crash leaves the old one whole or the new one
 * whole. Durable on return. The handle is open for more writes.
 *
 * @param dir directory of the file, which must exist
 */
export function replaceFile(dir: string, name: string, bytes: Uint8Array): Deno.FsFile {
  const path = `${dir}/${name}`;
  const file = Deno.openSync(`${path}.new`, {
    create: true,
    truncate: true,
    write: true,
    mode: 0o600,
  });
  try {
    writeAt(file, 0, bytes);
    file.syncSync();
    Deno.renameSync(`${path}.new`, path);
    syncDirectory(dir);
  } catch (error) {
    file.close();
    throw error;
  }
  return file;
}
