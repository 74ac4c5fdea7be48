// The model card of an exported drafter, Hugging Face style: metadata, what it is, settings, data, measured accepted lengths, how
// each engine serves it. Everything in it comes from the export's record; what is not known is said to be so.
import type { ExportRecord, MeasuredSet } from './export-record.js';

/** README.md of an export. `title` names the drafter, usually by its folder. */
export function formatModelCard(record: ExportRecord, title: string): string {
  return [metadata(record), `# ${title}`, introduction(record), drafterTable(record), training(record), measurements(record), serving(record, title), provenance(record)]
    .filter((section) => section !== '')
    .join('\n\n')
    .concat('\n');
}

const hubId = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;

function metadata({ target, drafter }: ExportRecord): string {
  const base = target.name !== null && hubId.test(target.name) ? [`base_model: ${target.name}`] : [];
  return ['---', ...base, 'library_name: transformers', 'pipeline_tag: text-generation', 'tags:', ...['dflash', 'draft-model', 'speculative-decoding', 'block-diffusion', 'draftalign'].map((tag) => `- ${tag}`), ...(drafter.format === 'speculators' ? ['- speculators'] : []), '---'].join('\n');
}

function introduction({ drafter, target }: ExportRecord): string {
  const name = target.name ?? 'its target';
  return [
    `A block-diffusion drafter ([DFlash](https://arxiv.org/abs/2602.06036)) for speculative decoding with **${name}**. It is no language model of`,
    `its own: from ${name}'s hidden states it proposes ${drafter.blockSize - 1} tokens in one pass, and ${name} checks them. Under exact verification the`,
    `output is ${name}'s own, token for token; the drafter decides how fast it comes. Embedding and output head are the target's and are not in`,
    'this folder. It was trained with draftalign.',
  ].join('\n');
}

function drafterTable({ drafter, target }: ExportRecord): string {
  return [
    '## Drafter',
    '',
    table(
      ['', ''],
      [
        ['target', code(target.name)],
        ['target weights', code(target.weightFingerprint, 'SHA-256 ')],
        ['layers', String(drafter.numHiddenLayers)],
        ['parameters', drafter.parameters.toLocaleString('en-US')],
        ['block size', `${drafter.blockSize} (1 known token, ${drafter.blockSize - 1} drafted)`],
        ['target layers read', `${drafter.targetLayerIds.join(', ')} of 0..${drafter.numTargetLayers - 1}`],
        ['mask token id', String(drafter.maskTokenId)],
        ['stored as', `${drafter.dtype}, ${drafter.format} format`],
      ],
    ),
  ].join('\n');
}

function training({ training, source, validation }: ExportRecord): string {
  if (training === null) return '## Training\n\nTrained outside draftalign; settings and data are not known to this card.';
  const step = source.step === null ? [] : [`Weights of step ${source.step}.`];
  const heldOut = validation === null ? [] : [`Accepted length on held-out text, simulated during training: ${validation.acceptedLength.toFixed(3)}.`];
  const section = (name: string) => ['', `${name}:`, '', '```json', JSON.stringify(training[name.toLowerCase()], null, 2), '```'];
  return ['## Training', '', [...step, ...heldOut].join(' '), ...section('Losses'), ...section('Optimizer'), ...section('Training'), ...section('Data'), ...section('Capture')].join('\n');
}

function measurements({ evaluation, verification }: ExportRecord): string {
  const heading = '## Accepted length\n\nTokens committed per pass of the target: accepted drafts plus one.';
  if (evaluation === null) {
    const checked = verification?.decoding
      ? ` When it was written, it decoded ${verification.decoding.texts} short texts of the target at an accepted length of ${verification.decoding.acceptedLength.toFixed(2)}; that is a check of the files, not a benchmark.`
      : '';
    return `${heading} Not measured on prompts yet: \`draftalign evaluate --json\` does, and \`draftalign export --evaluation\` puts it here.${checked}`;
  }
  const { settings } = evaluation;
  const row = (set: MeasuredSet) => [
    set.name,
    String(set.prompts),
    set.acceptedLength.toFixed(3),
    set.interval === null ? '' : `${set.interval.low.toFixed(3)} to ${set.interval.high.toFixed(3)}`,
    set.waste === null ? '' : `${(100 * set.waste).toFixed(1)}%`,
    set.speedup === null ? '' : `${set.speedup.toFixed(2)}x`,
  ];
  return [
    heading,
    '',
    table(['prompts', 'n', 'accepted length', '95% interval', 'waste', 'speed-up'], [...evaluation.sets, evaluation.total].map(row)),
    '',
    `Decoded by draftalign ${evaluation.finishedAt.slice(0, 10)}: temperature ${String(settings['temperature'])}, block size ${String(settings['blockSize'])}, at most ${String(settings['maxNewTokens'])} new tokens.` +
      ' Waste: right drafts lost to an earlier wrong one. Speed-up: over the target alone, in the same run on the same machine.',
  ].join('\n');
}

function serving(record: ExportRecord, title: string): string {
  const target = record.target.name ?? 'TARGET';
  const { blockSize, format } = record.drafter;
  const vllm = [
    'vLLM (the number of drafts is the block size less one):',
    '',
    '```bash',
    `vllm serve ${target} --speculative-config '{"method": "dflash", "model": "./${title}", "num_speculative_tokens": ${blockSize - 1}}'`,
    '```',
  ];
  if (format === 'speculators') {
    return ['## Serving', '', ...vllm, '', 'SGLang and llama.cpp read the dflash format: `draftalign export --format dflash`.'].join('\n');
  }
  return [
    '## Serving',
    '',
    ...vllm,
    '',
    'SGLang (it reads the block size from the config):',
    '',
    '```bash',
    `python -m sglang.launch_server --model-path ${target} --speculative-algorithm DFLASH --speculative-draft-model-path ./${title}`,
    '```',
    '',
    'llama.cpp (converted with its `convert_hf_to_gguf.py`, which takes the tokenizer from the target):',
    '',
    '```bash',
    `python convert_hf_to_gguf.py ${target} --outfile target.gguf`,
    `python convert_hf_to_gguf.py ./${title} --target-model-dir ${target} --outfile drafter.gguf`,
    `llama-server --model target.gguf --model-draft drafter.gguf --spec-type draft-dflash --spec-draft-n-max ${blockSize - 1}`,
    '```',
  ].join('\n');
}

function provenance(record: ExportRecord): string {
  const { verification } = record;
  const checked =
    verification === null
      ? 'The files were not compared with the drafter in memory (`--no-verify`).'
      : `The files were read back and compared with the drafter in memory: greatest relative difference of outputs ${verification.outputDifference.toRounded.toExponential(1)} ` +
        `after rounding to ${record.drafter.dtype}, ${verification.outputDifference.toFloat32.toExponential(1)} to float32.`;
  return ['## Provenance', '', `Written ${record.createdAt.slice(0, 10)} by draftalign ${record.draftalignVersion}${record.commit === null ? '' : ` (${record.commit.slice(0, 12)})`}. ${checked} \`draftalign.json\` holds fingerprints, conventions, settings and hashes.`].join('\n');
}

function table(header: string[], rows: string[][]): string {
  return [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function code(value: string | null, before = ''): string {
  return value === null ? 'not known' : `${before}\`${value}\``;
}
