// Exact counts of the bit patterns of 16-bit floats.
//
// A block owns a table of BINS 32-bit counters in shared memory and counts what falls into its part of the patterns:
// part 0 of 1 where the whole table fits (sign stripped: 32,768 bins, 128 KiB), part p of several where it does not
// (signed: 65,536 bins; cards with less shared memory: BINS 16,384). Blocks of the parts of one piece of data run side
// by side, so that all but the first read it from L2.
//
// Work comes as items, pieces of segments; a block takes every gridDim-th item and adds its table to the segment's
// when the segment ends. Counters cannot overflow: an item has less than 2^32 elements.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef BINS
#define BINS 32768
#endif
#ifndef LOADS
#define LOADS 4  // 16-byte loads in flight per thread, twice: one set is counted while the next arrives
#endif
#ifndef MIX
#define MIX 1
#endif
#ifndef THREADS
#define THREADS 1024
#endif

struct Item {
    u64 data;   // address of the first element, 2-byte aligned
    u64 n;      // elements, less than 2^32
    u64 table;  // index of the table that they are counted in
};

__device__ __forceinline__ uint4 load_streaming(const uint4* p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}

// Values on a coarse grid (fp16 that holds bf16, fp8 or int8 codes) end in zero bits: all of them would lie in one or two
// of the 32 banks. Higher bits are mixed into the lowest five. The mixing changes nothing above them, so applied to
// two patterns of one word at once it costs two instructions an element.
#if MIX
#define MIXED(w) ((w) ^ (((w) >> 5) & 0x001f001fu) ^ (((w) >> 10) & 0x001f001fu))
#else
#define MIXED(w) (w)
#endif

__device__ __forceinline__ void count_mixed(u32* table, u32 bin, u32 first) {
#if PARTS == 1
    atomicAdd(&table[bin], 1u);
#else
    bin -= first;
    if (bin < BINS) atomicAdd(&table[bin], 1u);
#endif
}

__device__ __forceinline__ void count_one(u32* table, u32 pattern, u32 mask, u32 first) {
    count_mixed(table, MIXED(pattern & mask), first);
}

__device__ __forceinline__ void count_two(u32* table, u32 word, u32 mask, u32 first) {
    u32 mixed = word & (mask | mask << 16);
    mixed = MIXED(mixed);
    count_mixed(table, mixed & 0xffffu, first);
    count_mixed(table, mixed >> 16, first);
}

__device__ __forceinline__ void count_eight(u32* table, uint4 v, u32 mask, u32 first) {
    count_two(table, v.x, mask, first);
    count_two(table, v.y, mask, first);
    count_two(table, v.z, mask, first);
    count_two(table, v.w, mask, first);
}

__device__ void count_item(const Item& item, u32* table, u32 mask, u32 first) {
    const u16* data = reinterpret_cast<const u16*>(item.data);
    u64 n = item.n;
    u32 head = static_cast<u32>((16 - (item.data & 15)) & 15) / 2;
    if (head > n) head = static_cast<u32>(n);
    if (threadIdx.x < head) count_one(table, data[threadIdx.x], mask, first);
    const uint4* vectors = reinterpret_cast<const uint4*>(data + head);
    u64 n_vectors = (n - head) / 8;
    u32 tail = static_cast<u32>((n - head) % 8);
    if (threadIdx.x < tail) count_one(table, data[n - tail + threadIdx.x], mask, first);

    const u64 step = static_cast<u64>(THREADS) * LOADS;
    u64 at = threadIdx.x;
    const u64 whole = n_vectors / step * step;
    uint4 now[LOADS], next[LOADS];
    if (whole) {
#pragma unroll
        for (int i = 0; i < LOADS; i++) now[i] = load_streaming(vectors + at + i * THREADS);
        for (at += step; at < whole; at += step) {
#pragma unroll
            for (int i = 0; i < LOADS; i++) next[i] = load_streaming(vectors + at + i * THREADS);
#pragma unroll
            for (int i = 0; i < LOADS; i++) count_eight(table, now[i], mask, first);
#pragma unroll
            for (int i = 0; i < LOADS; i++) now[i] = next[i];
        }
#pragma unroll
        for (int i = 0; i < LOADS; i++) count_eight(table, now[i], mask, first);
    }
    for (at = whole + threadIdx.x; at < n_vectors; at += THREADS) {
        count_eight(table, load_streaming(vectors + at), mask, first);
    }
}

__device__ __forceinline__ void clear(u32* table) {
    uint4* words = reinterpret_cast<uint4*>(table);
    for (u32 i = threadIdx.x; i < BINS / 4; i += THREADS) words[i] = make_uint4(0, 0, 0, 0);
}

// Adds the block's table to the segment's and clears it. Blocks start at different bins: all have the same ones filled.
__device__ void flush(u32* table, u64* counts, u32 first) {
    const u32 rotation = blockIdx.x * 1021;
    for (u32 k = threadIdx.x; k < BINS; k += THREADS) {
        const u32 i = (k + rotation) & (BINS - 1);
        const u32 v = table[i];
        if (v) {
            const u32 bin = first + i;
            atomicAdd(counts + MIXED(bin), static_cast<u64>(v));  // mixing is its own inverse
            table[i] = 0;
        }
    }
}

// One segment, cut into gridDim.x / PARTS pieces. counts: [PARTS * BINS].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
count_one_segment(u64 data, u64 n, u64 counts, u32 mask) {
    extern __shared__ u32 table[];
    const u32 part = blockIdx.x % PARTS, piece = blockIdx.x / PARTS, pieces = gridDim.x / PARTS;
    // Pieces are whole 128-byte lines apart, so that every piece but the first is aligned as its data is.
    u64 per_piece = ((n + pieces - 1) / pieces + 63) / 64 * 64;
    u64 begin = piece * per_piece;
    clear(table);
    __syncthreads();
    if (begin < n) {
        Item item = {data + 2 * begin, n - begin < per_piece ? n - begin : per_piece, 0};
        count_item(item, table, mask, part * BINS);
    }
    __syncthreads();
    flush(table, reinterpret_cast<u64*>(counts), part * BINS);
}

// Items of many segments. counts: [tables, PARTS * BINS].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
count_segments(u64 items_address, u64 n_items, u64 counts, u32 mask) {
    extern __shared__ u32 table[];
    const Item* items = reinterpret_cast<const Item*>(items_address);
    const u32 part = blockIdx.x % PARTS, stride = gridDim.x / PARTS;
    clear(table);
    __syncthreads();
    for (u64 i = blockIdx.x / PARTS; i < n_items; i += stride) {
        Item item = items[i];
        count_item(item, table, mask, part * BINS);
        __syncthreads();
        flush(table, reinterpret_cast<u64*>(counts) + item.table * PARTS * BINS, part * BINS);
        __syncthreads();
    }
}
