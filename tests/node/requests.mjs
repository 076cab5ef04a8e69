// Requests that every build of the judge must answer with the same bytes: the verdict vectors, each function of the
// package, wrong requests, and what the shared data holds.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const json = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** [{name, request, want}]: want is the text that must come out, where one is known. */
export function vectors(root) {
    const dir = join(root, 'tests/golden/verdicts');
    const caps = json(join(dir, 'caps.json'));
    const found = [];
    for (const file of readdirSync(dir).filter((f) => f.endsWith('.json')).sort()) {
        const cases = json(join(dir, file));
        if (!Array.isArray(cases) || !cases.every((c) => c.want)) continue;
        for (const { name, want, ...rest } of cases)
            found.push({
                name: `${file}: ${name}`,
                request: JSON.stringify({ call: 'check_model_worker_compatibility', worker: caps, ...rest }),
                want: JSON.stringify(want),
            });
    }
    return found;
}

/** Functions, both styles of names, and requests that are wrong. */
export function others(root) {
    const worker = json(join(root, 'tests/golden/verdicts/caps.json'));
    const model = { id: 'a/Qwen3-8B-GGUF', tags: ['gguf', 'qwen3'], siblings: [{ rfilename: 'm-Q4_K_M.gguf', size: 5027783488 }] };
    const facts = { architecture: 'llama3', format: 'gguf', quantization: 'Q4_K_M', parameters: '8B' };
    const check = { call: 'checkModelWorkerCompatibility', worker, model };
    const good = [
        { call: 'is_model_compatible', worker, model },
        { call: 'isModelCompatible', worker, model: { ...facts, sizeBytes: 5e9, maxContextLength: 8192 } },
        { call: 'isModelCompatible', worker, model: { ...facts, size_bytes: 5e9, max_context_length: 8192 } },
        { ...check, context: 8192, slots: 2, kv_type: 'q8_0', device: { name: 'a', memory: 1e10, bandwidth: 3.3e10 } },
        { ...check, context: 8192, slots: 2, kvType: 'q8_0', device: { name: 'a', memory: 1e10, bandwidth: 3.3e10 } },
        { ...check, device: { memory: 123456789, bandwidth: 1 / 3, compute: 1e300 } },
        { call: 'filter_compatible_models', worker, models: [model, { id: 'x' }] },
        { call: 'compatible_indexes', worker, models: [model, { id: 'x' }, 7, facts] },
        { call: 'list_workers', workers: [worker] },
        { call: 'get_worker', workers: [worker], id: worker.id },
        { call: 'filter_workers', workers: [worker], filter: { model_format: 'GGUF', modelArchitecture: 'Qwen3ForCausalLM' } },
        { call: 'filter_workers', workers: [worker], filter: { workerType: 'cuda' } },
    ].map((v) => JSON.stringify(v));
    const wrong = ['', ' ', '[', '{}', 'null', '"x"', '{"call":7}', '{"call":"nothing"}', '{"call":"is_model_compatible"}',
        '{"call":"\ud800"}', '{"call":"\u0000"}', `{"a":${'['.repeat(500)}`, '{"call":"list_workers"}',
        ...[{ ...check, worker: {} }, { ...check, model: 1 }, { ...check, model: { id: 1 } }, { ...check, kv_type: 'q9' },
            { ...check, context: -1 }, { ...check, context: 1e30 }, { ...check, slots: 'x' }, { ...check, set: 99999999 },
            { ...check, model: { ...facts, format: 'zip' } }, { ...check, model: { ...facts, quantization: 'Q99' } },
            { ...check, model: { ...facts, parameters: -1 } }, { call: 'compatible_indexes', worker, models: {} },
            { call: 'get_worker', workers: [worker] }, { call: 'get_worker', workers: [worker], id: 'none' },
            { call: 'filter_workers', workers: [worker], filter: { shape: 'round' } },
            { call: 'filter_workers', workers: [worker], filter: { minContextLength: 'x' } },
        ].map((v) => JSON.stringify(v))];
    return [...good, ...wrong].map((request) => ({ name: request.slice(0, 80), request }));
}

/** Entries of real catalogues as they lie in the shared data, where it is there. */
export function real(root, most = Infinity) {
    const dir = join(process.env.RBEE_TEST_DATA ?? join(root, '../shared/data'), 'hub');
    if (!existsSync(dir)) return [];
    const worker = json(join(root, 'tests/golden/verdicts/caps.json'));
    const device = { name: 'pc', memory: 16 * 2 ** 30, bandwidth: 41e9, compute: 9.1e11 };
    const found = [];
    const add = (model) => found.push({
        name: String(model?.id ?? model?.modelId),
        request: JSON.stringify({ call: 'check_model_worker_compatibility', worker, device, model }),
    });
    for (const file of ['api_model_gguf', 'api_model_safetensors', 'api_models_list', 'hub_list_tags', 'gguf_repositories']) {
        const v = json(join(dir, `${file}.json`));
        for (const x of Array.isArray(v) ? v : v.models ?? v.data ?? [v]) add(asReply(x));
    }
    for (const x of json(join(dir, 'model_facts.json'))) add(asFacts(x));
    const step = Math.max(1, Math.ceil(found.length / most));
    return found.filter((_, i) => i % step === 0);
}

const UNITS = { KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

/** A row of gguf_repositories.json as the Hub would reply; others are replies already. */
function asReply(x) {
    if (!x.quants) return x;
    const file = ({ path, file_size: size }) => {
        const [number, unit] = String(size).split(' ');
        return { rfilename: path.split('/resolve/main/').at(-1), size: Math.round(Number(number) * (UNITS[unit] ?? 1)) || 0 };
    };
    return { id: `${x.developer}/${x.model_name}`, createdAt: x.createdAt, downloads: x.downloads, tags: ['gguf'],
        siblings: x.quants.map(file) };
}

/** A row of model_facts.json as what a catalogue knows of a model. */
function asFacts(x) {
    return { id: x.name, architecture: x.architecture ?? '', format: x.format, quantization: x.quantization,
        parameters: x.parameters_raw, max_context_length: x.context_length };
}
