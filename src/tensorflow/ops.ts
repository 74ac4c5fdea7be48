// The tfjs operation library (`tf.matMul`, `tf.grads`, …) that every module computes with.
// It is the very instance that @tensorflow/tfjs-node-gpu runs on, reached through that package so that there is
// one TensorFlow dependency. Loading it starts nothing native: `loadTensorflow()` registers the backend, and an
// operation called before that throws tfjs's "No backend found in registry".
import { createRequire } from 'node:module';
import type * as TensorFlow from '@tensorflow/tfjs-node-gpu';

const requireHere = createRequire(import.meta.url);
const requireFromNode = createRequire(requireHere.resolve('@tensorflow/tfjs-node-gpu/package.json'));
const requireFromUnion = createRequire(requireFromNode.resolve('@tensorflow/tfjs/package.json'));

/** tfjs-core: operations, gradients and memory scopes. Types come from `import type … from '@tensorflow/tfjs-node-gpu'`. */
export const tf = requireFromUnion('@tensorflow/tfjs-core') as Omit<typeof TensorFlow, 'node' | 'layers' | 'data'>;
