// A TensorFlow graph being written: nodes with unique names, and the SavedModel that holds them.
// The protobuf classes are those that @tensorflow/tfjs-node-gpu carries for reading SavedModels. Their objects are large, so
// every node is turned into bytes at once, and the messages around the nodes are put together here.
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

/** One output of a node. */
export interface NodeOutput {
  node: string;
  index: number;
  /** TensorFlow's number of the dtype. */
  dtype: number;
}

export type AttributeValue =
  | { kind: 'type'; value: number }
  | { kind: 'int'; value: number | number[] }
  | { kind: 'float'; value: number | number[] }
  | { kind: 'bool'; value: boolean | boolean[] }
  | { kind: 'string'; value: string | string[] }
  | { kind: 'shape'; value: number[] | number[][] }
  | { kind: 'typeList'; value: number[] }
  | { kind: 'tensor'; value: { dtype: number; shape: number[]; content: Uint8Array } };

/* eslint-disable @typescript-eslint/no-explicit-any -- generated protobuf classes without types */
const requireHere = createRequire(import.meta.url);
const messages = requireHere('@tensorflow/tfjs-node-gpu/dist/proto/api_pb.js') as any;

function shapeProto(shape: number[]): any {
  const proto = new messages.TensorShape();
  for (const size of shape) {
    const dimension = new messages.TensorShape.Dim();
    dimension.setSize(size);
    proto.addDim(dimension);
  }
  return proto;
}

function attributeProto(attribute: AttributeValue): any {
  const proto = new messages.AttrValue();
  const list = (): any => {
    const value = new messages.AttrValue.ListValue();
    proto.setList(value);
    return value;
  };
  switch (attribute.kind) {
    case 'type':
      proto.setType(attribute.value);
      break;
    case 'typeList':
      list().setTypeList(attribute.value);
      break;
    case 'int':
      if (Array.isArray(attribute.value)) list().setIList(attribute.value);
      else proto.setI(attribute.value);
      break;
    case 'float':
      if (Array.isArray(attribute.value)) list().setFList(attribute.value);
      else proto.setF(attribute.value);
      break;
    case 'bool':
      if (Array.isArray(attribute.value)) list().setBList(attribute.value);
      else proto.setB(attribute.value);
      break;
    case 'string': {
      const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
      if (Array.isArray(attribute.value)) list().setSList(attribute.value.map(bytes));
      else proto.setS(bytes(attribute.value));
      break;
    }
    case 'shape':
      if (attribute.value.length > 0 && Array.isArray(attribute.value[0])) list().setShapeList((attribute.value as number[][]).map(shapeProto));
      else proto.setShape(shapeProto(attribute.value as number[]));
      break;
    case 'tensor': {
      const tensor = new messages.Tensor();
      tensor.setDtype(attribute.value.dtype);
      tensor.setTensorShape(shapeProto(attribute.value.shape));
      tensor.setTensorContent(attribute.value.content);
      proto.setTensor(tensor);
    }
  }
  return proto;
}

/** A protobuf field that holds bytes (a message or a string): key, length, content. */
function field(number: number, content: Uint8Array): Uint8Array[] {
  const header = [(number << 3) | 2];
  let length = content.byteLength;
  for (; length >= 0x80; length = Math.floor(length / 0x80)) header.push((length % 0x80) | 0x80);
  header.push(length);
  return [Uint8Array.from(header), content];
}

/** Version of the graph format that our nodes are written to; any TensorFlow 2 reads it. */
const producerVersion = 1482;

export class GraphDefinition {
  readonly #nodes: Uint8Array[] = [];
  readonly #names = new Set<string>();
  readonly #constants = new Map<string, NodeOutput>();

  get nodeCount(): number {
    return this.#names.size;
  }

  /** Adds a node and returns its name: `name`, or that with a number where it is taken. Control inputs run before it. */
  add(op: string, name: string, inputs: readonly NodeOutput[], attributes: Record<string, AttributeValue>, control: readonly string[] = []): string {
    let unique = name.replaceAll(/[^A-Za-z0-9_./-]/g, '_').replace(/^[^A-Za-z0-9.]/, 'n');
    for (let i = 1; this.#names.has(unique); i++) unique = `${name.replaceAll(/[^A-Za-z0-9_./-]/g, '_')}_${i}`;
    this.#names.add(unique);
    const node = new messages.NodeDef();
    node.setOp(op);
    node.setName(unique);
    for (const { node: from, index } of inputs) node.addInput(index === 0 ? from : `${from}:${index}`);
    for (const from of new Set(control)) node.addInput(`^${from}`);
    for (const [key, value] of Object.entries(attributes)) node.getAttrMap().set(key, attributeProto(value));
    this.#nodes.push(...field(1, node.serializeBinary() as Uint8Array));
    return unique;
  }

  /** A constant; equal small ones share a node. */
  constant(dtype: number, shape: number[], content: Uint8Array): NodeOutput {
    const key = content.byteLength <= 4096 ? `${dtype}/${shape.join()}/${Buffer.from(content).toString('latin1')}` : undefined;
    const known = key === undefined ? undefined : this.#constants.get(key);
    if (known !== undefined) return known;
    const node = this.add('Const', 'constant', [], { dtype: { kind: 'type', value: dtype }, value: { kind: 'tensor', value: { dtype, shape, content } } });
    const output = { node, index: 0, dtype };
    if (key !== undefined) this.#constants.set(key, output);
    return output;
  }

  /** Writes `saved_model.pb` into `folder`, under the tag `serve`. */
  save(folder: string): void {
    const versions = new messages.VersionDef();
    versions.setProducer(producerVersion);
    const information = new messages.MetaGraphDef.MetaInfoDef();
    information.addTags('serve');
    const graph = Buffer.concat([...this.#nodes, ...field(4, versions.serializeBinary() as Uint8Array)]);
    const metaGraph = Buffer.concat([...field(1, information.serializeBinary() as Uint8Array), ...field(2, graph)]);
    const schemaVersion = Uint8Array.of(1 << 3, 1);
    const bytes = Buffer.concat([schemaVersion, ...field(2, metaGraph)]);
    if (bytes.byteLength >= 2 ** 31) throw new Error(`the recorded graph takes ${bytes.byteLength} bytes; protobuf allows 2 GiB. Hold large constants as variables`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'saved_model.pb'), bytes);
  }
}
