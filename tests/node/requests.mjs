// Requests that every build of the judge must answer with the same bytes: the verdict vectors, each function of the
// package, wrong requests, catalogues, headers of real files, and what the shared data holds. A request is {name, request,
// module: "compat" or "files", file: a path whose bytes go behind it, want: the text that must come out}.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const json = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** What is judged by config.json is the other module's. */
const moduleOf = (x) => (x.config === undefined ? 'compat' : 'files');

/** The verdict vectors of the project. */
export function vectors(root) {
    const dir = join(root, 'tests/golden/verdicts');
    const caps = json(join(dir, 'caps.json'));
    const found = [];
    for (const file of readdirSync(dir).filter((f) => f.endsWith('.json')).sort()) {
        const cases = json(join(dir, file));
        if (!Array.isArray(cases)) continue;
        for (const { name, want, ...rest } of cases) {
            // Of configs.json only the config is asked; what it is held against is of C alone.
            const asked = want ? rest : { config: rest.config, context: 1024, slots: 1 };
            found.push({
                name: `${file}: ${name}`,
                module: moduleOf(asked),
                request: JSON.stringify({ call: 'check_model_worker_compatibility', worker: caps, ...asked }),
                want: want && JSON.stringify(want),
            });
        }
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
        { call: 'compatibility', workers: [worker] },
        { call: 'compatibility', workers: [worker], filter: { modelArchitecture: 'llama', model_format: 'gguf', quantization: 'Q4_K_M', compatible: true } },
    ].map((v) => JSON.stringify(v));
    const wrong = ['', ' ', '[', '{}', 'null', '"x"', '{"call":7}', '{"call":"nothing"}', '{"call":"is_model_compatible"}',
        '{"call":"\ud800"}', '{"call":"\u0000"}', `{"a":${'['.repeat(500)}`, '{"call":"list_workers"}',
        ...[{ ...check, worker: {} }, { ...check, model: 1 }, { ...check, model: { id: 1 } }, { ...check, kv_type: 'q9' },
            { ...check, context: -1 }, { ...check, context: 1e30 }, { ...check, slots: 'x' }, { ...check, set: 99999999 },
            { ...check, model: { ...facts, format: 'zip' } }, { ...check, model: { ...facts, quantization: 'Q99' } },
            { ...check, model: { ...facts, parameters: -1 } }, { call: 'compatible_indexes', worker, models: {} },
            { call: 'get_worker', workers: [worker] }, { call: 'get_worker', workers: [worker], id: 'none' },
            { call: 'filter_workers', workers: [worker], filter: { shape: 'round' } },
            { call: 'compatibility', workers: [worker], filter: { shape: 'round' } }, { call: 'compatibility', workers: [worker], filter: 7 },
            { call: 'compatibility', workers: [worker], filter: { model_format: 7 } },
            { call: 'filter_workers', workers: [worker], filter: { minContextLength: 'x' } },
        ].map((v) => JSON.stringify(v))];
    const both = ['', '[', '{}', '{"call":7}', '{"call":"nothing"}'];
    return [...[...good, ...wrong].map((request) => ({ request, module: 'compat' })),
        ...both.map((request) => ({ request, module: 'files' }))].map((r) => ({ ...r, name: r.request.slice(0, 80) }));
}

/** Numbers of all magnitudes, the same each time: how they are read and written must not depend on the C library. */
function* numbers(count) {
    const view = new DataView(new ArrayBuffer(8));
    for (let seed = 1; count > 0;) {
        for (const at of [0, 4]) view.setUint32(at, (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0));
        const x = view.getFloat64(0);
        if (!Number.isFinite(x)) continue;
        count--;
        yield [Math.abs(x), Math.abs(x % 1e6), 1 / (seed % 1000 + 1), seed / 1e7][seed >>> 30];
    }
}

/** A catalogue from its making to its end, in order: it has the first number. */
export function catalogue(root) {
    const worker = json(join(root, 'tests/golden/verdicts/caps.json'));
    const lines = execFileSync(join(root, 'tools/hub-fixture'), ['400', '--sizes', '50'], { encoding: 'utf8', maxBuffer: 1 << 28 });
    const machines = [{ name: 'laptop', memory: 8 * 2 ** 30, bandwidth: 38.4e9, worker },
        { name: 'tower', memory: 64 * 2 ** 30, bandwidth: 77.7e9, compute: 1.3e12, threads: 16, worker, backend: 'big' }];
    const queries = ['', 'q=qwen', 'q=a&size=4-9B,9-20B&sort=speed', 'all=1&limit=3', 'fits=0&order=asc&sort=params',
        { minParams: '1B', max_params: 9e9, capability: ['chat'], quant: 'q4-k-m' }, { machine: 'laptop', ctx: 16384, slots: 4, kvType: 'q8_0' },
        'sort=name&limit=7', 'author=Qwen&context=32-128K', 'max_memory=6GiB&format=gguf', 'nothing=1', 'size=huge', 'limit=0', 'q=%zz', 'cursor=x', 7];
    const at = { catalog: 1 };
    return [
        { call: 'catalog_new' },
        { call: 'catalog_put', ...at, models: JSON.parse(lines) },
        { call: 'catalog_put', ...at, models: [7, { id: 3 }, { architecture: 'llama', format: 'gguf', id: 'x/y' }, { entry: { id: 'a/b' }, shapes: {} }] },
        { call: 'catalog_put', ...at, models: [...numbers(600)].map((trendingScore, i) => ({ id: `number/${i}`, trendingScore })) },
        { call: 'catalog_count', ...at },
        { call: 'catalog_find', ...at, query: 'author=number&limit=1000&sort=trending' },
        { call: 'catalog_find', ...at, query: 'limit=2' },
        { call: 'catalog_judge', ...at, machines, context: 4096, slots: 2 },
        ...queries.flatMap((query) => ['catalog_find', 'catalog_facets', 'catalog_query'].map((call) => ({ call, ...at, query }))),
        { call: 'catalog_get', ...at, id: 'x/y' },
        { call: 'catalog_get', ...at, id: 'none' },
        { call: 'catalog_remove', ...at, id: 'x/y' },
        { call: 'catalog_remove', ...at, id: 'x/y' },
        { call: 'catalog_judge', ...at, machines: [{ memory: '16GB', worker }] },
        { call: 'catalog_judge', ...at, machines: [{ worker: {} }] },
        { call: 'catalog_find', ...at },
        { call: 'catalog_free', ...at },
        { call: 'catalog_free', ...at },
        { call: 'catalog_find', ...at },
    ].map((v) => ({ name: JSON.stringify(v).slice(0, 80), module: 'compat', request: JSON.stringify(v) }));
}

/** Headers of the golden models, whole and cut off. */
export function headers(root) {
    const worker = json(join(root, 'tests/golden/verdicts/caps.json'));
    const dir = join(root, 'tests/golden/families');
    const ask = { call: 'check_gguf_header', worker, device: { name: 'pc', memory: 2 ** 33, bandwidth: 4e10, compute: 1e12 }, context: 64 };
    const found = readdirSync(dir).filter((d) => existsSync(join(dir, d, 'model.gguf'))).map((name) => ({
        name: `header of ${name}`, module: 'files', request: JSON.stringify(ask), file: join(dir, name, 'model.gguf') }));
    return [...found, { name: 'no header', module: 'files', request: JSON.stringify(ask), file: join(dir, 'README.md') },
        { name: 'no bytes', module: 'files', request: JSON.stringify(ask) }];
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
        module: 'compat',
        request: JSON.stringify({ call: 'check_model_worker_compatibility', worker, device, model }),
    });
    for (const file of ['api_model_gguf', 'api_model_safetensors', 'api_models_list', 'hub_list_tags', 'gguf_repositories']) {
        const v = json(join(dir, `${file}.json`));
        for (const x of Array.isArray(v) ? v : v.models ?? v.data ?? [v]) add(asReply(x));
    }
    for (const x of json(join(dir, 'model_facts.json'))) add(asFacts(x));
    for (const file of readdirSync(join(dir, 'configs'))) {
        const config = readFileSync(join(dir, 'configs', file), 'utf8');
        const request = JSON.stringify({ call: 'check_model_worker_compatibility', worker, device, config });
        found.push({ name: file, module: 'files', request });
    }
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
