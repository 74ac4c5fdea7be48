// The config's JSON Schema, for editors (configs/schema.json) and for telling the user what is allowed where.
import { z } from 'zod';
import { configSchema } from './schema.js';
import type { SchemaNode } from './problems.js';

/** The schema of a config file, generated from the one definition. */
export function configJsonSchema(): SchemaNode & Record<string, unknown> {
  const schema = z.toJSONSchema(configSchema, { io: 'input' }) as SchemaNode & Record<string, unknown>;
  return { ...schema, title: 'draftalign training run' };
}

/** The schema as the file's text. */
export function configJsonSchemaText(): string {
  return `${JSON.stringify(configJsonSchema(), null, 2)}\n`;
}
