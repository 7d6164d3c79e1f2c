/*
 * The first part of the single-file executable dist/bascule:
 *
 *     this launcher | the deno executable | the bundled program | trailer
 *
 * The launcher maps the deno executable and its dynamic loader out of its own file, just as the kernel
 * would have for execve(2), puts the small bundle into a sealed memory file, and jumps to the loader
 * with the arguments that make deno run the bundle. So nothing is unpacked or copied at a start, every
 * agent on a machine shares one page cache, no file outside is trusted, the process stays the one
 * that was started (signals, exit status, standard streams), and ps shows the command as it was typed.
 *
 * Freestanding: no libc, since deno's own libc is to be the only one that this process ever sets up.
 */
#include <asm/unistd.h>
#include <linux/auxvec.h>
#include <linux/elf.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_MASK_LOW 4095UL
#define MAX_SEGMENTS 32
#define OPTIONS_BYTES 1024
#define MAX_WORDS (OPTIONS_BYTES / 2) /* the most words that fit: a letter and its NUL each */
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

/* The last bytes of the file; tools/compile/executable_file.ts writes the same layout. */
struct trailer {
    uint64_t deno_offset, deno_size;     /* offset is a multiple of 64 KiB */
    uint64_t bundle_offset, bundle_size;
    char options[OPTIONS_BYTES];         /* NUL-separated arguments for deno, empty string ends */
    char environment[OPTIONS_BYTES];     /* NUL-separated NAME=value added, empty string ends */
    uint64_t file_size;                  /* of the whole, so that a cut or grown copy is refused */
    char magic[16];
};
static const char MAGIC[16] = "bascule-file-01";

#if defined(__x86_64__)
#define MACHINE EM_X86_64
__asm__(".globl _start\n_start:\n xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call launch\n hlt\n");
static long syscall6(long n, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
/* rdx is the function that the program would register with atexit: none. */
__attribute__((noreturn)) static void jump(uintptr_t entry, void *stack) {
    __asm__ volatile("mov %0,%%rsp\n xor %%edx,%%edx\n xor %%ebp,%%ebp\n jmp *%1"
                     : : "r"(stack), "r"(entry) : "rdx", "memory");
    __builtin_unreachable();
}
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
__asm__(".globl _start\n_start:\n mov x29,#0\n mov x30,#0\n mov x0,sp\n bl launch\n brk #0\n");
static long syscall6(long n, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
__attribute__((noreturn)) static void jump(uintptr_t entry, void *stack) {
    __asm__ volatile("mov sp,%0\n mov x0,#0\n mov x29,#0\n mov x30,#0\n br %1"
                     : : "r"(stack), "r"(entry) : "x0", "memory");
    __builtin_unreachable();
}
#else
#error "the launcher knows x86-64 and aarch64 only"
#endif

/* gcc may call these for what it finds to be copies and fills. */
void *memcpy(void *to, const void *from, size_t size) {
    for (size_t i = 0; i < size; i++) ((volatile char *)to)[i] = ((const char *)from)[i];
    return to;
}
void *memset(void *to, int value, size_t size) {
    for (size_t i = 0; i < size; i++) ((volatile char *)to)[i] = (char)value;
    return to;
}
static size_t length(const char *text) {
    size_t size = 0;
    while (text[size] != 0) size++;
    return size;
}
static int equal(const char *a, const char *b, size_t size) {
    for (size_t i = 0; i < size; i++) if (a[i] != b[i]) return 0;
    return 1;
}

static void print(const char *text) { syscall6(__NR_write, 2, (long)text, (long)length(text), 0, 0, 0); }

/* Ends the process as a shell does for a command that cannot be run. */
__attribute__((noreturn)) static void fail(const char *what, long error) {
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = 0;
    print("bascule: ");
    print(what);
    if (error < 0) {
        unsigned long code = (unsigned long)-error;
        do digits[--at] = (char)('0' + code % 10); while ((code /= 10) != 0);
        print(", errno ");
        print(digits + at);
    }
    print("\n");
    for (;;) syscall6(__NR_exit_group, 126, 0, 0, 0, 0, 0);
}
static long must(long result, const char *what) {
    if (result < 0 && result >= -4095) fail(what, result);
    return result;
}

static const char CUT[] = "the executable file is damaged or cut short; install it again";

static void read_fully(long fd, void *to, uint64_t size, uint64_t offset) {
    for (uint64_t done = 0; done < size;) {
        long n = syscall6(__NR_pread64, fd, (long)to + (long)done, (long)(size - done),
                          (long)(offset + done), 0, 0);
        if (n == -4) continue; /* EINTR */
        must(n, "cannot read the executable file");
        if (n == 0) fail(CUT, 0);
        done += (uint64_t)n;
    }
}

/* A program image in memory. */
struct image {
    uintptr_t base, entry, headers;
    uint64_t header_count;
    char interpreter[256];
};

static void load(long fd, uint64_t file_offset, struct image *image) {
    Elf64_Ehdr elf;
    Elf64_Phdr segments[MAX_SEGMENTS];
    read_fully(fd, &elf, sizeof elf, file_offset);
    if (!equal((char *)elf.e_ident, ELFMAG, SELFMAG) || elf.e_ident[EI_CLASS] != ELFCLASS64 ||
        elf.e_machine != MACHINE || elf.e_type != ET_DYN || elf.e_phnum > MAX_SEGMENTS ||
        elf.e_phentsize != sizeof(Elf64_Phdr))
        fail("the runtime or the system's loader is no position-independent program for this machine", 0);
    read_fully(fd, segments, elf.e_phnum * sizeof(Elf64_Phdr), file_offset + elf.e_phoff);

    uint64_t low = UINT64_MAX, high = 0, align = PAGE_MASK_LOW + 1;
    image->interpreter[0] = 0;
    for (int i = 0; i < elf.e_phnum; i++) {
        Elf64_Phdr *s = &segments[i];
        if (s->p_type == PT_INTERP) {
            if (s->p_filesz > sizeof image->interpreter) fail("the loader's path is too long", 0);
            read_fully(fd, image->interpreter, s->p_filesz, file_offset + s->p_offset);
        }
        if (s->p_type != PT_LOAD) continue;
        if (s->p_vaddr < low) low = s->p_vaddr;
        if (s->p_vaddr + s->p_memsz > high) high = s->p_vaddr + s->p_memsz;
        if (s->p_align > align) align = s->p_align;
    }
    low &= ~PAGE_MASK_LOW;
    high = (high + PAGE_MASK_LOW) & ~PAGE_MASK_LOW;
    uintptr_t area = (uintptr_t)must(
        syscall6(__NR_mmap, 0, (long)(high - low + align), PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), "cannot reserve memory");
    uintptr_t start = (area + align - 1) & ~(align - 1);
    if (start > area) syscall6(__NR_munmap, (long)area, (long)(start - area), 0, 0, 0, 0);
    uintptr_t area_end = area + (high - low) + align, end = start + (high - low);
    if (area_end > end) syscall6(__NR_munmap, (long)end, (long)(area_end - end), 0, 0, 0, 0);
    image->base = start - low;

    for (int i = 0; i < elf.e_phnum; i++) {
        Elf64_Phdr *s = &segments[i];
        if (s->p_type != PT_LOAD || s->p_memsz == 0) continue;
        int protection = (s->p_flags & PF_R ? PROT_READ : 0) | (s->p_flags & PF_W ? PROT_WRITE : 0) |
                         (s->p_flags & PF_X ? PROT_EXEC : 0);
        uintptr_t at = image->base + s->p_vaddr, page = at & ~PAGE_MASK_LOW;
        uintptr_t file_end = at + s->p_filesz, memory_end = at + s->p_memsz;
        uintptr_t mapped_end = page;
        if (s->p_filesz > 0) {
            must(syscall6(__NR_mmap, (long)page, (long)(file_end - page), protection,
                          MAP_PRIVATE | MAP_FIXED, fd,
                          (long)(file_offset + s->p_offset - (at - page))),
                 "cannot map the runtime");
            mapped_end = (file_end + PAGE_MASK_LOW) & ~PAGE_MASK_LOW;
        }
        if (memory_end > file_end) {
            /* The rest of the file's last page is to be zero, and what lies beyond it fresh memory. */
            if (mapped_end > file_end) {
                if (!(s->p_flags & PF_W)) fail("the runtime has a read-only segment with a tail", 0);
                memset((void *)file_end, 0, mapped_end - file_end);
            }
            uintptr_t last = (memory_end + PAGE_MASK_LOW) & ~PAGE_MASK_LOW;
            if (last > mapped_end)
                must(syscall6(__NR_mmap, (long)mapped_end, (long)(last - mapped_end), protection,
                              MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0), "cannot map memory");
        }
        if (elf.e_phoff >= s->p_offset && elf.e_phoff < s->p_offset + s->p_filesz)
            image->headers = at + (elf.e_phoff - s->p_offset);
    }
    image->entry = image->base + elf.e_entry;
    image->header_count = elf.e_phnum;
}

/* The bundle in a sealed memory file that no child inherits. Writes its path for deno. */
static void publish_bundle(long fd, const struct trailer *t, char *path) {
    const char *name = "bascule.js";
    long memory = syscall6(__NR_memfd_create, (long)name,
                           MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL, 0, 0, 0, 0);
    if (memory == -22) /* EINVAL: a kernel before 6.3 */
        memory = syscall6(__NR_memfd_create, (long)name, MFD_CLOEXEC | MFD_ALLOW_SEALING, 0, 0, 0, 0);
    must(memory, "cannot create a memory file for the program");
    int64_t offset = (int64_t)t->bundle_offset;
    for (uint64_t left = t->bundle_size; left > 0;) {
        long n = must(syscall6(__NR_sendfile, memory, fd, (long)&offset, (long)left, 0, 0),
                      "cannot copy the program into memory");
        if (n == 0) fail(CUT, 0);
        left -= (uint64_t)n;
    }
    must(syscall6(__NR_fcntl, memory, F_ADD_SEALS, SEALS, 0, 0, 0), "cannot seal the program");
    const char *prefix = "/proc/self/fd/";
    size_t at = length(prefix);
    memcpy(path, prefix, at);
    long divisor = 1;
    while (memory / divisor > 9) divisor *= 10;
    for (; divisor > 0; divisor /= 10) path[at++] = (char)('0' + memory / divisor % 10);
    path[at] = 0;
}

/* Whether `variable` (NAME=value) has the name of one of `added`. */
static int is_replaced(const char *variable, const char *added) {
    size_t name = 0;
    while (variable[name] != 0 && variable[name] != '=') name++;
    for (; *added != 0; added += length(added) + 1)
        if (length(added) > name && added[name] == '=' && equal(added, variable, name)) return 1;
    return 0;
}

/* Called with the stack as the kernel left it: argc, argv, NULL, environment, NULL, auxiliary vector. */
__attribute__((noreturn, used)) void launch(uintptr_t *stack) {
    static struct trailer t;
    static char bundle_path[64];
    static struct image runtime, loader;

    long fd = must(syscall6(__NR_openat, AT_FDCWD, (long)"/proc/self/exe", O_RDONLY | O_CLOEXEC,
                            0, 0, 0), "cannot open /proc/self/exe; is /proc mounted?");
    uint64_t size = (uint64_t)must(syscall6(__NR_lseek, fd, 0, 2, 0, 0, 0), "cannot seek");
    if (size < sizeof t) fail(CUT, 0);
    read_fully(fd, &t, sizeof t, size - sizeof t);
    if (!equal(t.magic, MAGIC, sizeof MAGIC) || t.file_size != size ||
        t.options[OPTIONS_BYTES - 1] != 0 || t.environment[OPTIONS_BYTES - 1] != 0) fail(CUT, 0);

    load(fd, t.deno_offset, &runtime);
    uintptr_t entry = runtime.entry;
    if (runtime.interpreter[0] != 0) {
        long loader_fd = must(syscall6(__NR_openat, AT_FDCWD, (long)runtime.interpreter,
                                       O_RDONLY | O_CLOEXEC, 0, 0, 0),
                              "cannot open the system's dynamic loader; is glibc installed?");
        load(loader_fd, 0, &loader);
        syscall6(__NR_close, loader_fd, 0, 0, 0, 0, 0);
        entry = loader.entry;
    }
    publish_bundle(fd, &t, bundle_path);
    syscall6(__NR_close, fd, 0, 0, 0, 0, 0);

    long argc = (long)stack[0];
    char **argv = (char **)(stack + 1), **environment = argv + argc + 1;
    size_t variables = 0, pairs = 0;
    while (environment[variables] != NULL) variables++;
    uintptr_t *auxiliary = (uintptr_t *)(environment + variables + 1);
    while (auxiliary[2 * pairs] != AT_NULL) pairs++;

    /* The new stack: the same, with deno's arguments and variables put in, and deno as the program. */
    size_t words = 1 + ((size_t)argc + MAX_WORDS + 3) + (variables + MAX_WORDS + 1) + 2 * (pairs + 1);
    uintptr_t *block = __builtin_alloca_with_align(words * sizeof *block, 128), *at = block + 1;
    *at++ = (uintptr_t)"deno";
    for (char *word = t.options; *word != 0; word += length(word) + 1) *at++ = (uintptr_t)word;
    *at++ = (uintptr_t)bundle_path;
    for (long i = 1; i < argc; i++) *at++ = (uintptr_t)argv[i];
    *block = (uintptr_t)(at - block - 1);
    *at++ = 0;
    for (size_t i = 0; i < variables; i++)
        if (!is_replaced(environment[i], t.environment)) *at++ = (uintptr_t)environment[i];
    for (char *word = t.environment; *word != 0; word += length(word) + 1) *at++ = (uintptr_t)word;
    *at++ = 0;
    for (size_t i = 0; i <= pairs; i++) {
        uintptr_t key = auxiliary[2 * i], value = auxiliary[2 * i + 1];
        if (key == AT_PHDR) value = runtime.headers;
        if (key == AT_PHNUM) value = runtime.header_count;
        if (key == AT_ENTRY) value = runtime.entry;
        if (key == AT_BASE) value = loader.base;
        *at++ = key;
        *at++ = value;
    }
    jump(entry, block);
}
