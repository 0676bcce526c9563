// Runs launches again that emulated kernels have recorded (record.rs): each block's threads are threads of the operating
// system, so that a thread sanitizer sees their races. Usage: replay FILE..
#include <fstream>
#include <iterator>
#include <string>

#include "emulation.h"

#define TABLE(file) extern "C" const emulation::Entry* kernels_of_##file(size_t* count);
TABLES
#undef TABLE

namespace {

// Of a file of natural numbers and bytes.
struct Reader {
    const char* at;
    size_t number() {
        uint64_t n;
        std::memcpy(&n, bytes(sizeof n), sizeof n);
        return n;
    }
    const char* bytes(size_t n) {
        const char* here = at;
        at += n;
        return here;
    }
};

const emulation::Entry* find(const std::string& name) {
    const auto look = [&](const emulation::Entry* table, size_t count) -> const emulation::Entry* {
        for (size_t i = 0; i < count; ++i)
            if (table[i].kernel.name == name) return table + i;
        return nullptr;
    };
    size_t count;
    const emulation::Entry *table, *found = nullptr;
#define TABLE(file) \
    table = kernels_of_##file(&count); \
    if (!found) found = look(table, count);
    TABLES
#undef TABLE
    return found;
}

void replay(const std::string& file) {
    std::printf("%s\n", file.c_str());
    std::fflush(stdout);
    std::ifstream stream(file, std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(stream), {}};
    Reader reader{content.data()};
    const size_t name_length = reader.number();
    unsigned grid[3];
    for (unsigned& n : grid) n = unsigned(reader.number());
    const unsigned threads = unsigned(reader.number()), shared = unsigned(reader.number());
    const size_t argument_bytes = reader.number(), pointers = reader.number();
    const std::string name(reader.bytes(name_length), name_length);
    std::vector<uint64_t> arguments(argument_bytes / 8 + 1);
    std::memcpy(arguments.data(), reader.bytes(argument_bytes), argument_bytes);
    std::vector<std::vector<uint64_t>> memory(pointers);
    for (auto& elements : memory) {
        const size_t place = reader.number(), bytes = reader.number();
        elements.resize(bytes / 8 + 1);
        std::memcpy(elements.data(), reader.bytes(bytes), bytes);
        const uint64_t pointer = reinterpret_cast<uint64_t>(elements.data());
        std::memcpy(reinterpret_cast<char*>(arguments.data()) + place, &pointer, sizeof pointer);
    }
    const emulation::Entry* entry = find(name);
    if (!entry) emulation::fail(("there is no kernel " + name).c_str());
    if (entry->kernel.cooperates) entry->launch(&entry->kernel, grid, threads, shared, arguments.data());
}

}  // namespace

int main(int count, char** files) {
    if (count < 2) emulation::fail("no launches to run again");
    for (int i = 1; i < count; ++i) replay(files[i]);
}
