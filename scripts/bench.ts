// `npm run bench`: what the training step, the capture and the decoding cost on this machine, as tables or JSON. Everything that is compared takes turns.
// Other load makes figures on the clock too large; processor time hardly feels it, so both are told, and the load average with them.
import { availableParallelism, cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { writeFileAtomic } from '../src/files.js';
import { captureTable, measureCapture } from './bench/capture-bench.js';
import { caseNames, readCase } from './bench/cases.js';
import { decodeTable, measureDecoding } from './bench/decode-bench.js';
import { measureScaling, scalingTable } from './bench/scaling.js';
import { measureCase, type CaseFigures, type Way } from './bench/step-bench.js';
import { ratioTable, stepTable } from './bench/tables.js';

const usage = `npm run bench -- [options]

  --case NAMES       cases, separated by commas (default ${caseNames.join(',')}; large is one for a GPU)
  --parts NAMES      of step, online, capture, decode (default all)
  --ways NAMES       of eager, graph, xla (default all)
  --steps N          timed steps of each way (default 10)
  --threads N        threads of TensorFlow and PyTorch (default all cores)
  --tf32             on a GPU, round the factors of products to TensorFloat-32, PyTorch's too
  --against-torch    run scripts/bench-torch.py in turns with ours, and print ratios
  --python FILE      an interpreter that has torch (and transformers, for the capture); default python3
  --drafter FOLDER   a run or drafter of the demo target, for speculative decoding (default demo, the one that comes with draftalign)
  --tokens N         new tokens a text when decoding (default 256)
  --scaling          cost against size instead: N, S, K, V, D of the first case doubled twice
  --json FILE        write all figures there too`;

const { values: flags } = parseArgs({
  options: {
    case: { type: 'string', default: caseNames.join() },
    parts: { type: 'string', default: 'step,online,capture,decode' },
    ways: { type: 'string', default: 'eager,graph,xla' },
    steps: { type: 'string', default: '10' },
    threads: { type: 'string' },
    tf32: { type: 'boolean', default: false },
    'against-torch': { type: 'boolean', default: false },
    python: { type: 'string', default: 'python3' },
    drafter: { type: 'string', default: 'demo' },
    tokens: { type: 'string', default: '256' },
    scaling: { type: 'boolean', default: false },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (flags.help) {
  console.log(usage);
  process.exit(0);
}

const names = flags.case.split(',');
const parts = flags.parts.split(',');
const steps = Number(flags.steps);
const threads = flags.threads === undefined ? undefined : Number(flags.threads);
const options = { steps, python: flags.python, tf32: flags.tf32, ...(threads !== undefined && { threads }) };
const machine = { processor: cpus()[0]?.model ?? 'unknown', cores: availableParallelism(), threads: threads ?? availableParallelism(), node: process.version, loadBefore: loadavg()[0]! };
console.log(`${machine.cores} cores (${machine.processor}), ${machine.threads} threads, load average ${machine.loadBefore.toFixed(1)} before the start`);
if (machine.loadBefore > 0.5) console.log('Other work is running: figures on the clock are too large, and only those in turns can be compared.');
const figures: Record<string, unknown> = { machine };

if (flags.scaling) {
  const scaling = await measureScaling(names[0]!, options);
  figures['scaling'] = { case: names[0], rows: scaling };
  console.log(`\nCost against size, from the case ${names[0]}:\n\n${scalingTable(scaling)}`);
} else {
  if (parts.includes('step')) await measureSteps();
  if (parts.includes('online')) {
    const { ways, load, ...rest } = await measureCase('demo', readCase('demo'), ['graph', 'online'], options);
    figures['online'] = { ...rest, ways, load };
    console.log(`\nThe demo target inside the step (online) beside features from a cache (graph):\n\n${stepTable([{ ...rest, ways, load }])}`);
  }
  if (parts.includes('capture')) {
    const capture = await measureCapture(options);
    figures['capture'] = capture;
    console.log(`\nCapture with the demo target, ${capture.batch} sequences of ${capture.length} tokens a pass:\n\n${captureTable(capture)}`);
  }
  if (parts.includes('decode')) {
    const decoding = await measureDecoding({ drafter: flags.drafter, tokens: Number(flags.tokens), promptsPerSet: 4, ...(threads !== undefined && { threads }) });
    figures['decoding'] = decoding;
    console.log(`\nDecoding with the demo target, greedy, one text at a time, ${decoding.prompts} prompts, to the answers' ends; costs a pass past them, to ${decoding.mostNewTokens} new tokens:\n\n${decodeTable(decoding)}`);
  }
}
if (flags.json !== undefined) await writeFileAtomic(flags.json, `${JSON.stringify(figures, null, 2)}\n`);

async function measureSteps(): Promise<void> {
  const ways: Way[] = [...(flags.ways.split(',') as Way[]), ...(flags['against-torch'] ? (['torch'] as const) : [])];
  const cases: CaseFigures[] = [];
  for (const name of names) {
    cases.push(await measureCase(name, readCase(name), ways, options));
    const { load, operationsPerStep } = cases.at(-1)!;
    console.log(`\n${name}: ${(operationsPerStep / 1e9).toFixed(1)} GFLOP a step that the mask needs; load average ${load.toFixed(1)}\n\n${stepTable(cases.slice(-1))}`);
  }
  figures['steps'] = cases;
  if (flags['against-torch']) console.log(`\nOf the PyTorch step's:\n\n${ratioTable(cases)}`);
}
