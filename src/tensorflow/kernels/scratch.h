// Memory that a thread keeps from call to call.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>

/** Room for `numbers` of T, aligned to a cache line, whatever it holds; each `use` has its own. Null where there is no memory. */
template <int use, typename T>
T* scratch(size_t numbers) {
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  thread_local std::unique_ptr<void, Free> memory;
  thread_local size_t size = 0;
  if (numbers > size) {
    memory.reset(std::aligned_alloc(64, (numbers * sizeof(T) + 63) / 64 * 64));
    size = memory ? numbers : 0;
  }
  return static_cast<T*>(memory.get());
}
