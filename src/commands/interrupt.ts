// Ctrl-C for commands that save before they stop.

/** First Ctrl-C (or a closed terminal) asks the run to save and stop; the second stops at once. */
export async function withInterrupt<T>(run: (signal: AbortSignal) => Promise<T>, notice = 'saving after this step'): Promise<T> {
  const controller = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const interrupt = (signal: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort(signal);
    process.stderr.write(`\n${notice}; once more to stop at once\n`);
  };
  for (const signal of signals) process.on(signal, interrupt);
  try {
    return await run(controller.signal);
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
  }
}
