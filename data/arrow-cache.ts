// The Arrow cache: sequences with the target's features, on disk. docs/arrow-cache.md specifies the files.
export { CACHE_VERSION, type CacheColumns, type CacheMetadata, type CacheRow, type RowParts } from './cache-layout.js';
export { openCache, type Cache } from './cache-reader.js';
export { verifyCache } from './cache-verify.js';
export { createCacheWriter, sequenceBytes, type CacheWriter, type CacheWriterOptions } from './cache-writer.js';
export type { Part } from './cache-manifest.js';
