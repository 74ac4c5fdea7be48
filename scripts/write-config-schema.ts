// Writes what is generated from the definitions of configs (`npm run schema`): the JSON Schemas for editors in configs/, docs/config.md for people.
import { join } from 'node:path';
import { studyJsonSchema } from '../src/ablation/study-schema.js';
import { configJsonSchemaText } from '../src/config/json-schema.js';
import { configReferenceText } from '../src/config/reference.js';
import { writeFileAtomic } from '../src/files.js';
import { packageRoot } from '../src/package-root.js';

const texts = {
  'configs/schema.json': configJsonSchemaText(),
  'configs/study-schema.json': `${JSON.stringify(studyJsonSchema(), null, 2)}\n`,
  'docs/config.md': configReferenceText(),
};
for (const [path, text] of Object.entries(texts)) {
  await writeFileAtomic(join(packageRoot(), path), text);
  console.log(`wrote ${path}`);
}
