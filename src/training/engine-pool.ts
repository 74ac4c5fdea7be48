// One recorded engine for many runs. Recording a step takes seconds, which short runs that differ only in seed or length need not pay each:
// the engine is handed on with new weights. Only the last one is kept, so runs with the same objective should follow one another.
import { isDeepStrictEqual } from 'node:util';
import { createEngine, type Engine, type EngineOptions } from './engine.js';

/** Hands out engines for runs of one target, one run at a time. */
export class EnginePool {
  #kept: { shape: unknown; engine: Engine } | undefined;

  /** An engine that starts from `options.weights`. Its `dispose` gives it back; the pool's own frees it. */
  take(options: EngineOptions): Engine {
    const { drafter, objective, optimizer, accumulate, training, validation, eager } = options;
    const shape = { drafter, objective, optimizer, accumulate, training, validation, eager, online: options.readTarget !== undefined };
    if (this.#kept !== undefined && isDeepStrictEqual(this.#kept.shape, shape)) this.#kept.engine.reset(options.weights);
    else {
      this.dispose();
      this.#kept = { shape: structuredClone(shape), engine: createEngine(options) };
    }
    return { ...this.#kept.engine, dispose: () => undefined };
  }

  dispose(): void {
    this.#kept?.engine.dispose();
    this.#kept = undefined;
  }
}
