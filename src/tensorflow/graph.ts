// Steps as one TensorFlow graph: every function is recorded once, all of them go into one SavedModel, and each later run is one
// session call. Variables are resource variables of that session: they keep their values from call to call and never leave it
// unless they are read. A run is synchronous.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-node-gpu';
import { bindInputs, checkLike, functionOf } from './executor.js';
import type { Executor, Program } from './executor.js';
import { GraphDefinition } from './graph-definition.js';
import { addFeed, addVariable, nativeBackend, recordFunction, tfType } from './graph-recorder.js';
import type { RecordedFunction } from './graph-recorder.js';
import { tf } from './ops.js';

export { createEagerExecutor } from './executor.js';
export type { Executor, Program, StepFunction, StepVariable, StepVariables, TypedInput } from './executor.js';

interface VariableNodes {
  shape: number[];
  dtype: Tensor['dtype'];
  read: string;
  feed: string;
  write: string;
}

/** An executor whose functions are recorded graphs. `nodeCounts` tells their size. */
export interface GraphExecutor extends Executor {
  readonly kind: 'graph';
  readonly nodeCounts: Record<string, number>;
}

/**
 * Records every function of `program` and loads the graph.
 * @throws Error where a step cannot be recorded (it reads values, or uses a large tensor from outside), naming the function and the operation.
 */
export function createGraphExecutor(program: Program): GraphExecutor {
  const backend = nativeBackend();
  const { binding } = backend;
  const graph = new GraphDefinition();
  const variables = Object.fromEntries(Object.entries(program.variables).map(([name, value]) => [name, { handle: addVariable(graph, name, value), value }]));
  const variableNodes = new Map(Object.entries(variables).map(([name, { handle, value }]): [string, VariableNodes] => [name, addAccess(graph, name, handle, value)]));
  const functions = new Map<string, RecordedFunction>();
  const nodeCounts: Record<string, number> = {};
  for (const [name, step] of Object.entries(program.functions)) {
    const before = graph.nodeCount;
    const recorded = recordFunction(graph, name, step, variables);
    tf.dispose([...Object.values(recorded.outputs), ...Object.values(recorded.assigned)]);
    functions.set(name, recorded);
    nodeCounts[name] = graph.nodeCount - before;
  }
  const session = loadGraph(graph);
  const call = (feeds: [string, Tensor][], fetches: string[]): Tensor[] => {
    const ids = backend.getInputTensorIds(feeds.map(([, tensor]) => tensor));
    const results = binding.runSavedModel(session, ids, feeds.map(([node]) => `${node}:0`).join(), fetches.map((node) => `${node}:0`).join());
    return results.map((metadata) => backend.createOutputTensor(metadata));
  };
  const write = (name: string, value: Tensor): void => {
    const nodes = nodesOf(variableNodes, name);
    checkLike(`variable ${name}`, value, nodes);
    tf.dispose(call([[nodes.feed, value]], [nodes.write]));
  };
  for (const [name, value] of Object.entries(program.variables)) write(name, value);

  let disposed = false;
  return {
    kind: 'graph',
    nodeCounts,
    run: (name, inputs) => {
      const step = functionOf(program, name);
      const recorded = functions.get(name)!;
      return tf.tidy(() => {
        const feeds = Object.entries(bindInputs(name, step, inputs)).map(([key, tensor]): [string, Tensor] => [recorded.inputNodes[key]!, tensor]);
        const names = Object.keys(recorded.outputNodes);
        const [, ...values] = call(feeds, [recorded.doneNode, ...names.map((key) => recorded.outputNodes[key]!)]);
        return Object.fromEntries(names.map((key, index) => [key, values[index]!]));
      });
    },
    read: (name) => call([], [nodesOf(variableNodes, name).read])[0]!,
    write,
    dispose: () => {
      if (!disposed) binding.deleteSavedModel(session);
      disposed = true;
    },
  };
}

/** Nodes that read a variable whole and that replace it from a feed. */
function addAccess(graph: GraphDefinition, name: string, handle: { node: string; index: number; dtype: number }, value: Tensor): VariableNodes {
  const dtype = { kind: 'type', value: tfType[value.dtype as keyof typeof tfType] } as const;
  const read = graph.add('ReadVariableOp', `access/read/${name}`, [handle], { dtype });
  const { feed, copy } = addFeed(graph, `access/feed/${name}`, dtype.value, value.shape);
  const assign = graph.add('AssignVariableOp', `access/assign/${name}`, [handle, copy], { dtype });
  const done = { dtype: tfType.int32, shape: [], content: new Uint8Array(4) };
  const write = graph.add('Const', `access/write/${name}`, [], { dtype: { kind: 'type', value: tfType.int32 }, value: { kind: 'tensor', value: done } }, [assign]);
  return { shape: value.shape, dtype: value.dtype, read, feed, write };
}

function nodesOf(nodes: Map<string, VariableNodes>, name: string): VariableNodes {
  const found = nodes.get(name);
  if (found === undefined) throw new Error(`no variable named ${name}`);
  return found;
}

/** The SavedModel is needed on disk only while it is loaded. */
function loadGraph(graph: GraphDefinition): number {
  const folder = mkdtempSync(join(tmpdir(), 'draftalign-graph-'));
  try {
    graph.save(folder);
    return nativeBackend().binding.loadSavedModel(folder, 'serve');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
