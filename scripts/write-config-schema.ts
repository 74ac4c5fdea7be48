// Writes configs/schema.json, the JSON Schema of a config for editors, from the one definition (`npm run schema`).
import { join } from 'node:path';
import { configJsonSchemaText } from '../src/config/json-schema.js';
import { writeFileAtomic } from '../src/files.js';
import { packageRoot } from '../src/package-root.js';

const path = join(packageRoot(), 'configs/schema.json');
await writeFileAtomic(path, configJsonSchemaText());
console.log(`wrote ${path}`);
