# What the specification demands of a server in words ("MUST", "SHOULD"), asked of it by libnbd.
# Run by nbdsh; the environment says where: SOCKET, SIZE (bytes), DIRECT (1: past the page cache).
import errno
import os

import nbd

SOCKET, EXPORT = os.environ["SOCKET"], "data"
SIZE, DIRECT = int(os.environ["SIZE"]), os.environ["DIRECT"] == "1"
MIB = 1 << 20


def connect(structured=True, handshake=None, contexts=("base:allocation",), strict=0):
    h = nbd.NBD()
    h.set_export_name(EXPORT)
    h.set_request_structured_replies(structured)
    if handshake is not None:
        h.set_handshake_flags(handshake)
    if structured:
        for context in contexts:
            h.add_meta_context(context)
    h.set_strict_mode(strict)
    h.connect_unix(SOCKET)
    return h


def fails(number, what, *args, **kwargs):
    try:
        what(*args, **kwargs)
    except nbd.Error as error:
        assert error.errnum == number, f"{error.errno} where {errno.errorcode[number]} is due"
        return
    raise AssertionError(f"{what.__name__}{args} succeeded")


def goes_on(h):
    """The connection is in step and serves."""
    h.pwrite(b"in step" + bytes(MINIMUM * 8 - 7), 0)
    assert h.pread(7 if MINIMUM == 1 else MINIMUM, 0)[:7] == b"in step"


def options():
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.connect_unix(SOCKET)
    names = []
    h.opt_list(lambda name, description: names.append(name))
    assert EXPORT in names, names
    h.set_export_name("no such export")
    fails(errno.ENOENT, h.opt_info)
    fails(errno.ENOENT, h.opt_go)
    # After a refusal the negotiation goes on.
    h.set_export_name(EXPORT)
    h.add_meta_context("base:")
    h.add_meta_context("x-unknown:thing")
    contexts = []
    h.opt_list_meta_context(contexts.append)
    assert contexts == ["base:allocation"], contexts
    h.clear_meta_contexts()
    contexts.clear()
    h.opt_list_meta_context(contexts.append)
    assert "base:allocation" in contexts, contexts
    h.add_meta_context("base:")
    h.opt_info()
    assert h.get_size() == SIZE
    # A wildcard selects nothing when contexts are set.
    h.opt_go()
    assert not h.can_meta_context("base:allocation")
    h.shutdown()
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.connect_unix(SOCKET)
    h.opt_abort()


def handshakes():
    both = nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE | nbd.HANDSHAKE_FLAG_NO_ZEROES
    for flags in [0, nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE, both]:
        h = connect(handshake=flags)
        assert h.get_size() == SIZE
        goes_on(h)
        h.shutdown()


def announced():
    h = connect()
    for can in [h.can_flush, h.can_fua, h.can_trim, h.can_zero, h.can_df, h.can_cache,
                h.can_multi_conn]:
        assert can(), can.__name__
    assert not h.is_read_only()
    least, preferred, most = (h.get_block_size(which) for which in (
        nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED, nbd.SIZE_MAXIMUM))
    assert least == MINIMUM and preferred >= max(512, least) and most >= 32 * MIB
    assert preferred & (preferred - 1) == 0
    # DF belongs to structured replies.
    assert not connect(structured=False).can_df()


def past_the_end(h):
    unit = MINIMUM * 512
    for offset in [SIZE, SIZE - unit, 1 << 62, (1 << 63) - unit]:
        length = 2 * unit
        fails(errno.EINVAL, h.pread, length, offset)
        fails(errno.ENOSPC, h.pwrite, bytes(length), offset)
        fails(errno.EINVAL, h.trim, length, offset)
        fails(errno.ENOSPC, h.zero, length, offset)
        fails(errno.EINVAL, h.cache, length, offset)
        goes_on(h)
    # The last bytes can be had.
    h.pwrite(b"\x5a" * unit, SIZE - unit)
    assert h.pread(unit, SIZE - unit) == b"\x5a" * unit


def flags(h, structured):
    unknown = [1 << 6, 1 << 14, 1 << 15]
    calls = [
        (lambda f: h.pread(512 * MINIMUM, 0, flags=f), [nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_REQ_ONE,
                                                        nbd.CMD_FLAG_FAST_ZERO]),
        (lambda f: h.pwrite(bytes(512 * MINIMUM), 0, flags=f), [nbd.CMD_FLAG_DF,
                                                                nbd.CMD_FLAG_NO_HOLE]),
        (lambda f: h.trim(512 * MINIMUM, 0, flags=f), [nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_DF]),
        (lambda f: h.zero(512 * MINIMUM, 0, flags=f), [nbd.CMD_FLAG_DF, nbd.CMD_FLAG_REQ_ONE]),
        (lambda f: h.cache(512 * MINIMUM, 0, flags=f), [nbd.CMD_FLAG_DF]),
        (lambda f: h.flush(flags=f), [nbd.CMD_FLAG_NO_HOLE]),
    ]
    for call, wrong in calls:
        for flag in wrong + unknown:
            fails(errno.EINVAL, call, flag)
        # FUA is valid for every command.
        call(nbd.CMD_FLAG_FUA)
    if structured:
        assert len(h.pread(65536, 0, flags=nbd.CMD_FLAG_DF)) == 65536
    else:
        fails(errno.EINVAL, h.pread, 65536, 0, flags=nbd.CMD_FLAG_DF)
    goes_on(h)


def empty_requests(h):
    # "the behavior of a server on such a request is unspecified although the server SHOULD NOT
    # disconnect"
    for call in [lambda: h.pread(0, 0), lambda: h.pwrite(b"", 0), lambda: h.trim(0, 0),
                 lambda: h.zero(0, 0), lambda: h.cache(0, 0)]:
        try:
            call()
        except nbd.Error as error:
            assert error.errnum == errno.EINVAL, error
        goes_on(h)


def alignment(h):
    if MINIMUM == 1:
        return
    for offset, length in [(1, MINIMUM), (MINIMUM, MINIMUM // 2), (MINIMUM // 2, MINIMUM)]:
        fails(errno.EINVAL, h.pread, length, offset)
        fails(errno.EINVAL, h.pwrite, bytes(length), offset)
        fails(errno.EINVAL, h.trim, length, offset)
        fails(errno.EINVAL, h.zero, length, offset)
    goes_on(h)


def large(h):
    data = os.urandom(65536) * 512
    h.pwrite(data, 0)
    assert h.pread(len(data), 0) == data
    # Longer than what is announced: refused, and in step.
    try:
        h.pread(33 * MIB, 0)
    except nbd.Error as error:
        assert error.errnum in (errno.EINVAL, errno.EOVERFLOW, errno.ERANGE), error
    goes_on(h)
    h.zero(SIZE, 0)
    assert h.pread(len(data), 0) == bytes(len(data))
    h.trim(SIZE, 0)
    assert h.pread(MIB, SIZE // 2 // MIB * MIB) == bytes(MIB)


def zeroes(h):
    data = b"\x77" * (256 * 1024)
    for flag in [0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FUA]:
        h.pwrite(data, 0)
        h.zero(128 * 1024, 64 * 1024, flags=flag)
        assert h.pread(len(data), 0) == data[:65536] + bytes(131072) + data[:65536]
    for flag in [nbd.CMD_FLAG_FAST_ZERO, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE]:
        if not h.can_fast_zero():
            fails(errno.EINVAL, h.zero, 65536, 0, flags=flag)
            continue
        h.pwrite(data, 0)
        try:
            h.zero(131072, 65536, flags=flag)
            assert h.pread(131072, 65536) == bytes(131072)
        except nbd.Error as error:
            # "SHOULD NOT alter the contents of the export when returning an NBD_ENOTSUP failure"
            assert error.errnum == errno.ENOTSUP, error
            assert h.pread(len(data), 0) == data


def status(h):
    h.zero(SIZE, 0)
    h.pwrite(b"x" * 65536, MIB)
    extents = []

    def gather(context, offset, entries, err):
        assert context == "base:allocation"
        extents.append(list(zip(entries[0::2], entries[1::2])))

    h.block_status(4 * MIB, 0, gather)
    (found,) = extents
    assert all(length > 0 for length, _ in found)
    at = 0
    for length, flag in found:
        # What is called zero reads as zeroes; nothing with data is called so.
        if flag & 2:
            assert not at < MIB + 65536 or at + length <= MIB, found
        at += length
    # "the sum of the length fields of the first N-1 extents MUST be less than the requested length"
    assert sum(length for length, _ in found[:-1]) < 4 * MIB
    extents.clear()
    h.block_status(MIB // 2, MIB // 4, gather, flags=nbd.CMD_FLAG_REQ_ONE)
    ((length, _),) = extents[0]
    assert length <= MIB // 2
    fails(errno.EINVAL, h.block_status, 2 * MIB, SIZE - MIB, gather)
    # Without a selected context it may not be asked.
    bare = connect(contexts=())
    fails(errno.EINVAL, bare.block_status, MIB, 0, gather)
    goes_on(bare)
    goes_on(h)


def many_connections():
    one, two = connect(), connect(structured=False)
    assert one.can_multi_conn() and two.can_multi_conn()
    one.pwrite(b"1" * 4096, 8192)
    two.flush()
    assert two.pread(4096, 8192) == b"1" * 4096
    two.pwrite(b"2" * 4096, 8192, flags=nbd.CMD_FLAG_FUA)
    assert one.pread(4096, 8192) == b"2" * 4096
    one.shutdown()
    goes_on(two)


def out_of_order(h):
    buffers = [nbd.Buffer(16384) for _ in range(200)]
    for n in range(200):
        h.pwrite(bytes([n]) * 16384, n * 16384)
    cookies = {h.aio_pread(buffer, n * 16384): n for n, buffer in enumerate(buffers)}
    assert len(cookies) == 200
    while h.aio_in_flight() > 0:
        h.poll(-1)
    for cookie, n in cookies.items():
        assert h.aio_command_completed(cookie)
        assert buffers[n].to_bytearray() == bytes([n]) * 16384, n


MINIMUM = connect().get_block_size(nbd.SIZE_MINIMUM)
assert MINIMUM >= 512 if DIRECT else MINIMUM == 1

options()
handshakes()
announced()
for structured in (False, True):
    handle = connect(structured)
    goes_on(handle)
    past_the_end(handle)
    flags(handle, structured)
    empty_requests(handle)
    alignment(handle)
    large(handle)
    zeroes(handle)
    out_of_order(handle)
    if structured:
        status(handle)
    handle.shutdown()
many_connections()
print("conformant")
