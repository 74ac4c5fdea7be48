// Writes configs/schema.json and configs/study-schema.json, the JSON Schemas of configs for editors, from their definitions (`npm run schema`).
import { join } from 'node:path';
import { studyJsonSchema } from '../src/ablation/study-schema.js';
import { configJsonSchemaText } from '../src/config/json-schema.js';
import { writeFileAtomic } from '../src/files.js';
import { packageRoot } from '../src/package-root.js';

const schemas = { 'schema.json': configJsonSchemaText(), 'study-schema.json': `${JSON.stringify(studyJsonSchema(), null, 2)}\n` };
for (const [name, text] of Object.entries(schemas)) {
  const path = join(packageRoot(), 'configs', name);
  await writeFileAtomic(path, text);
  console.log(`wrote ${path}`);
}
