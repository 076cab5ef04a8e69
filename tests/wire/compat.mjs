// The npm package @rbee/compat: the same bytes natively, in Node and in Chromium; wrong inputs; memory; and the package
// as a new user installs it, in a strict TypeScript project.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, extname, join, normalize, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { catalogue, headers, others, real, vectors } from '../node/requests.mjs';

const root = process.env.RBEE_ROOT ?? join(dirname(fileURLToPath(import.meta.url)), '../..');
const build = dirname(process.env.RBEE_BIN ?? join(root, 'build/release/bin'));
const npm = process.env.RBEE_NODE ?? join(root, 'build/node');
const LARGEST = 200_000;

// ---- TAP ----
let n = 0, bad = 0;
function ok(good, name, ...more) {
    console.log(`${good ? 'ok' : 'not ok'} ${++n} - ${name}`);
    if (good) return good;
    bad++;
    for (const m of more) console.log(`#   ${(typeof m === 'string' ? m : JSON.stringify(m) ?? String(m)).slice(0, 1500).replaceAll('\n', '\n#   ')}`);
    return good;
}
const same = (got, want, name) => ok(JSON.stringify(got) === JSON.stringify(want), name, { got, want });
const skip = (why) => console.log(`ok ${++n} # SKIP ${why}`);
function finish() {
    console.log(`1..${n}`);
    process.exit(bad ? 1 : 0);
}
function skipAll(why) {
    skip(why);
    finish();
}
setTimeout(() => {
    console.log('# the test did not end within 500 s');
    process.exit(1);
}, 500_000).unref();

if (!existsSync(join(build, 'compat/compat.wasm')))
    skipAll('this build has no compat.wasm: clang, lld, wasi-libc and libclang-rt-14-dev-wasm32 make it');
if (!existsSync(join(npm, 'node_modules/typescript'))) skipAll('the npm package typescript is not installed');

const home = mkdtempSync(join(tmpdir(), 'rbee-compat-'));
process.on('exit', () => rmSync(home, { recursive: true, force: true }));

/** Runs a program; its output, or undefined after saying what it said. */
function run(name, command, args, options = {}) {
    const env = { ...process.env, RBEE_NODE: npm, npm_config_cache: join(home, 'npm'), npm_config_update_notifier: 'false' };
    const done = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 30, timeout: 200_000, env, ...options });
    return ok(done.status === 0, name, done.error?.message ?? '', done.stderr ?? '', done.stdout?.slice(-1500) ?? '')
        ? done.stdout : undefined;
}

// ---- the package, and the answers of native code ----
const pack = join(home, 'package');
if (run('the package is made', join(root, 'packages/compat/build'), [build, '--out', pack]) === undefined) finish();
const requests = [...catalogue(root), ...vectors(root), ...others(root), ...headers(root), ...real(root)]
    .map((r) => ({ ...r, request: r.request.replaceAll('\n', ' ') }));
ok(vectors(root).length > 20, 'the vectors are there');
const native = [];
for (const module of ['compat', 'files']) {
    const places = requests.map((r, i) => [r, i]).filter(([r]) => r.module === module);
    const input = places.map(([r]) => `${r.request}${r.file ? `\t${r.file}` : ''}\n`).join('');
    const out = run(`native code answers: ${module}`, join(build, 'compat/compat-native'), module === 'files' ? ['--files'] : [], { input })
        ?.split('\n').slice(0, -1);
    if (!out || !same(out.length, places.length, 'one line each')) finish();
    places.forEach(([, i], k) => (native[i] = out[k]));
}

/** How many of the answers differ from those of native code. */
function compare(answers, where) {
    const around = (text, at) => text?.slice(Math.max(0, at - 60), at + 40);
    const wrong = requests.map((r, i) => ({ name: r.name, got: answers[i], native: native[i] })).filter((x) => x.got !== x.native)
        .map(({ name, got = '', native: want }) => {
            const at = [...got].findIndex((c, i) => c !== want[i]);
            return { name, got: around(got, at), native: around(want, at) };
        });
    ok(answers.length === requests.length && wrong.length === 0,
        `${where}: ${requests.length} answers, byte for byte those of native code`, `${wrong.length} differ`, ...wrong.slice(0, 3));
}
const missed = requests.map((r, i) => ({ ...r, got: native[i] })).filter((r) => r.want !== undefined && r.want !== r.got);
ok(missed.length === 0, 'every vector comes out as it is written down', ...missed.slice(0, 3).map(({ name, want, got }) => ({ name, want, got })));
ok(real(root).length > 1000 || !existsSync(join(root, '../shared/data/hub')), 'entries of real catalogues are among them');

// ---- the module ----
const bytes = readFileSync(join(pack, 'dist/compat.wasm'));
const module = new WebAssembly.Module(bytes);
for (const name of ['compat.wasm', 'files.wasm']) {
    const own = readFileSync(join(pack, 'dist', name));
    same(WebAssembly.Module.imports(new WebAssembly.Module(own)), [], `${name} imports nothing`);
    ok(own.length <= LARGEST, `and has ${own.length} bytes, at most ${LARGEST}`);
}

// ---- in Node ----
const compat = await import(pathToFileURL(join(pack, 'dist/index.js')).href);
const files = await import(pathToFileURL(join(pack, 'dist/files.js')).href);
/** The text of an answer. */
function answer({ module: name, request, file }) {
    return (name === 'files' ? files.answerFiles(request, file && readFileSync(file)) : compat.answer(request)).text;
}
const thrown = (fn) => {
    try {
        fn();
    } catch (e) {
        return e;
    }
};
const code = (fn) => {
    const e = thrown(fn);
    return compat.isCompatError(e) ? e.code : e === undefined ? 'none' : `${e.name}: ${e.message}`;
};

async function starting() {
    same(code(() => compat.listWorkers()), 'unavailable', 'before init() there is a clear error');
    ok(!compat.isReady(), 'and isReady() says no');
    for (const [what, source] of [['an address that is nowhere', 'http://127.0.0.1:9/x.wasm'], ['no file', 'file:///nowhere.wasm']])
        same(await compat.init(source).then(() => 'ready', (e) => e.code), 'unavailable', `init() with ${what}`);
    same(await compat.init(new Uint8Array([0, 97, 115])).then(() => 'ready', (e) => e.code), 'malformed_file', 'with other bytes');
    same(code(() => compat.initSync(new Uint8Array(9))), 'malformed_file', 'the same at once');
    await Promise.all([compat.init(), compat.init(pathToFileURL(join(pack, 'dist/compat.wasm')))]);
    ok(compat.isReady(), 'init() makes it ready, twice at once as well');
    compat.initSync(module);
    same(code(() => files.checkGgufHeader(new Uint8Array(4), 'llm-worker-rbee-cpu')), 'unavailable', 'the other module is not ready yet');
    await files.initFiles();
    compare(requests.map(answer), 'Node');
    // One process each: the module is one a process.
    const main = pathToFileURL(join(pack, 'dist/index.js')).href, dist = pathToFileURL(join(pack, 'dist/')).href;
    for (const [how, line] of [
        ['initSync() with the bytes', `c.initSync((await import('${dist}bytes.js')).wasmBytes())`],
        ['init() with a file', `await c.init(new URL('${dist}compat.wasm'))`],
        ['init() with a compiled module', `await c.init(WebAssembly.compile((await import('${dist}bytes.js')).wasmBytes()))`]]) {
        const out = run(how, process.execPath, ['--input-type=module', '-e',
            `const c = await import('${main}'); ${line}; process.stdout.write(c.listWorkers()[0].id)`]);
        same(out, 'llm-worker-rbee-cpu', '... answers');
    }
}

/** A module that stops at every third call, in place of one with a defect. */
function broken() {
    const leb = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >> 7)]);
    const text = (t) => [t.length, ...Buffer.from(t)];
    const section = (id, items) => {
        const body = [items.length, ...items.flat()];
        return [id, ...leb(body.length), ...body];
    };
    const body = (...code) => [code.length + 2, 0, ...code, 0x0b];
    const number = (n) => [0x41, ...leb(n)];
    const reply = '{"catalog":1}';
    const calls = ['compat_room', 'compat_answer', 'compat_reply', 'compat_reply_size'];
    return new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
        ...section(1, [[0x60, 1, 0x7f, 1, 0x7f], [0x60, 0, 1, 0x7f]]), ...section(3, [[0], [0], [1], [1]]), ...section(5, [[0, 1]]),
        ...section(6, [[0x7f, 1, 0x41, 0, 0x0b]]),
        ...section(7, [[...text('memory'), 2, 0], ...calls.map((name, i) => [...text(name), 0, i])]),
        ...section(10, [body(...number(32)),
            // calls = calls + 1; if (calls == 3) unreachable; return 0
            body(0x23, 0, 0x41, 1, 0x6a, 0x24, 0, 0x23, 0, 0x41, 3, 0x46, 0x04, 0x40, 0x00, 0x0b, ...number(0)),
            body(...number(8)), body(...number(reply.length))]),
        ...section(11, [[0, 0x41, 8, 0x0b, ...text(reply)]])]);
}

function defects() {
    const out = run('a module with a defect', process.execPath, ['--input-type=module', '-e', `
        import { answer, Catalog, initSync } from '${pathToFileURL(join(pack, 'dist/index.js')).href}';
        initSync(new Uint8Array([${broken()}]));
        const code = (fn) => { try { return String(fn()); } catch (e) { return e.code ?? String(e); } };
        const said = [code(() => answer('{}').text)];
        const catalog = new Catalog();
        said.push(code(() => answer('{}').text), code(() => answer('{}').text), code(() => catalog.size), code(() => catalog.free()));
        console.log(said.join(' '));`]);
    same(out?.trim(), '{"catalog":1} internal_error {"catalog":1} internal_error undefined',
        'is an error of one call; the next has a new instance, and what lived in the old one says so');
}

function functions() {
    const facts = { architecture: 'llama3', format: 'gguf', quantization: 'Q4_K_M', parameters: '8B', sizeBytes: 5e9, maxContextLength: 8192 };
    const verdict = compat.isModelCompatible(facts);
    ok(verdict.compatible && verdict.confidence === 'low' && verdict.memory.weights === 5e9, 'a model by a few facts', verdict);
    same(compat.isModelCompatible({ ...facts, sizeBytes: undefined, size_bytes: 5e9, maxContextLength: undefined, max_context_length: 8192 }),
        verdict, 'the same in the other style');
    const small = { name: 'pi', memory: 2 ** 30, bandwidth: 1e10 };
    const short = compat.checkModelWorkerCompatibility(facts, 'llm-worker-rbee-cpu', { machine: small, kvType: 'q8_0', context: 4096 });
    ok(short.compatible && !short.fits && short.short_by > 4e9, 'a machine that is too small', short);
    same(compat.checkModelWorkerCompatibility(facts, compat.bundledCapabilities()[0], { machine: small, kv_type: 'q8_0', context: 4096 }),
        short, 'capabilities instead of a name, kv_type instead of kvType');
    const two = [{ path: 'm-Q8_0.gguf', size: 8e9 }, 'm-Q4_0.gguf'];
    same(compat.isModelCompatible({ id: 'a/b-8B', tags: ['llama'] }, { files: two }).format, 'gguf', 'a list of files beside the model');
    const list = [{ architecture: 'llama', format: 'safetensors' }, { id: 'none' }, 7, null, { id: 'a/b', tags: ['gguf', 'qwen3'] }];
    const kept = compat.filterCompatibleModels(list);
    ok(kept.length === 2 && kept[0] === list[0] && kept[1] === list[4], 'filterCompatibleModels() keeps the objects in their order');
    const many = Array.from({ length: 30000 }, (_, i) => (i % 3 ? { id: `a/m-${i}`, tags: ['gguf', 'llama', 'x'.repeat(60)] } : { id: `b/${i}` }));
    same(compat.filterCompatibleModels(new Set(many)).length, 20000, 'also of more than fit into one request');
    const worker = compat.getWorker('llm-worker-rbee-cpu');
    ok(worker.pure_backend === true && worker.supports_offloading === false && worker.supported_architectures.length > 50 &&
        worker.supported_quantizations.includes('Q4_K_M') && worker.supported_parameters.temperature.default === 0.8, 'getWorker()', worker);
    same(compat.getWorker('none'), undefined, 'a worker that does not exist');
    same(compat.listWorkers().map((w) => w.id), ['llm-worker-rbee-cpu'], 'only workers that exist are listed');
    ok(!('device_name' in compat.bundledCapabilities()[0]), 'nothing of the machine that made the package is in it');
    same(compat.filterWorkers({ workerType: 'cpu', platform: 'linux', model_format: 'gguf' }).length, 1, 'filterWorkers()');
    same(compat.filterWorkers({ worker_type: 'cuda' }), [], 'none of another type');
    same(compat.filterWorkers({ minContextLength: 1 }, { workers: [{ ...compat.bundledCapabilities()[0], limits: undefined }] }), [],
        'a filter on what a worker does not say excludes it');
    const rows = compat.compatibilityMatrix({ modelArchitecture: 'llama', model_format: 'gguf', quantization: 'Q4_K_M' });
    ok(rows.length === 1 && rows[0].compatible && rows[0].confidence === 'high' && rows[0].evidence.length > 0, 'compatibilityMatrix()', rows);
    ok(compat.compatibilityMatrix().length > 1000, 'all of it');
    same(compat.findCompatibleWorkers(facts).map((x) => x.worker.id), ['llm-worker-rbee-cpu'], 'findCompatibleWorkers()');
    same(compat.findCompatibleWorkers(facts, { machine: small }), [], 'none where the model does not fit');
    same(compat.findCompatibleWorkers({ architecture: 'llama', format: 'pytorch' }), [], 'none that reads the format');
}

/** A config.json and a header, through the functions. */
function byFiles() {
    const worker = 'llm-worker-rbee-cpu', machine = { name: 'pc', memory: 32 * 2 ** 30, bandwidth: 50e9 };
    const config = { architectures: ['Qwen3ForCausalLM'], model_type: 'qwen3', hidden_size: 4096, intermediate_size: 12288,
        num_hidden_layers: 36, num_attention_heads: 32, num_key_value_heads: 8, head_dim: 128, vocab_size: 151936,
        max_position_embeddings: 40960, rms_norm_eps: 1e-6, rope_theta: 1e6, torch_dtype: 'bfloat16', tie_word_embeddings: false };
    const v = files.checkModelFiles({ config }, worker, { machine, context: 8192, slots: 1 });
    ok(v.compatible && v.fits && v.architecture === 'qwen3' && Math.abs(v.memory.weights / 16.38e9 - 1) < 0.01 &&
        v.memory.kv === 36 * 2 * 8 * 128 * 2 * 8192 && !v.memory.estimated, 'a config.json: weights, and the cache to the byte', v);
    same(files.checkModelFiles({ config: JSON.stringify(config) }, worker, { machine, context: 8192, slots: 1 }), v, 'the same as text');
    same(files.checkModelFiles({ config: { ...config, architectures: ['NoSuchModel'] } }, worker).compatible, false, 'a class that does not exist');
    same(code(() => files.checkModelFiles({}, worker)), 'invalid_request', 'no config.json');
    same(code(() => files.checkModelFiles({ config: 7 }, worker)), 'invalid_request', 'something else as config.json');
    same(code(() => compat.answer(JSON.stringify({ call: 'is_model_compatible', worker: compat.bundledCapabilities()[0], config })).ok), 'none',
        'asked of the other module it is an error');

    const path = join(root, 'tests/golden/families/llama-gqa8/model.gguf'), whole = readFileSync(path);
    let size = 100, rounds = 0, got;
    do {
        got = files.checkGgufHeader(whole.subarray(0, size), worker, { machine, fileSize: whole.length });
        rounds++;
        ok(got.need === 0 || got.need > size, `${size} bytes of a header: ${got.need} would do`);
        size = got.need;
    } while (got.need && rounds < 20);
    ok(got.verdict?.compatible && ['high', 'medium'].includes(got.verdict.confidence), 'and then there is a verdict', got);
    const copy = new ArrayBuffer(whole.length);
    new Uint8Array(copy).set(whole);
    same(files.checkGgufHeader(copy, worker, { machine, file_size: whole.length }), files.checkGgufHeader(whole, worker, { machine }), 'the same of an ArrayBuffer');
    same(code(() => files.checkGgufHeader(new Uint8Array(1000), worker)), 'malformed_file', 'bytes that are no header');
    for (let i = 0; i < 1500; i++) {
        const bad = Uint8Array.from(whole.subarray(0, 20000));
        for (let k = 0; k < 1 + (i % 5); k++) bad[random(i % 3 ? 400 : bad.length)] = random(256);
        const c = code(() => files.checkGgufHeader(bad, worker, { fileSize: whole.length }));
        if (!['none', 'malformed_file', 'unsupported', 'limit_exceeded'].includes(c)) return ok(false, 'a header with random faults', c);
    }
    ok(true, 'headers with random faults are answered');
}

function catalogs() {
    const text = execFileSync(join(root, 'tools/hub-fixture'), ['1500', '--lines', '--seed', '3'], { encoding: 'utf8', maxBuffer: 1 << 28 });
    const machines = [{ name: 'laptop', memory: 8 * 2 ** 30, bandwidth: 38.4e9 }, { name: 'tower', memory: 64 * 2 ** 30, bandwidth: 77.7e9 }];
    const all = text.trim().split('\n').map((line) => JSON.parse(line));
    const catalog = new compat.Catalog(machines, { context: 4096, slots: 1 });
    same(catalog.load(text), { added: all.length, rejected: [] }, 'a catalogue of lines');
    same(catalog.size, all.length, 'holds them');
    const page = catalog.find({ limit: 1000 });
    // The catalogue and the functions on one model agree, each on its best machine.
    const wrong = [...page.models, ...catalog.find({ all: true, limit: 1000, sort: 'name' }).models].filter((m) => {
        const one = all.find((x) => x.id === m.id);
        const verdicts = machines.map((machine) => compat.checkModelWorkerCompatibility(one, 'llm-worker-rbee-cpu', { machine, context: 4096, slots: 1 }));
        return m.verdict.fits !== verdicts.some((v) => v.fits) || m.verdict.compatible !== verdicts.some((v) => v.compatible);
    });
    ok(page.models.length > 100 && wrong.length === 0, 'its verdicts are those of the functions', wrong.slice(0, 2));
    ok(page.total + page.hidden.count === all.length && page.hidden.reasons.reduce((n, r) => n + r.count, 0) === page.hidden.count,
        'what is hidden is counted, with why', page.hidden);
    const query = { q: 'qwen', minParams: '1B', sort: 'params', limit: 7 };
    const ids = [];
    for (const one of catalog.pages(query)) ids.push(...one.models.map((m) => m.id));
    const whole = catalog.find({ ...query, limit: 1000 });
    same(ids, whole.models.map((m) => m.id), 'pages, one after the other, are the whole');
    same(catalog.find({ q: 'qwen', min_params: 1e9, sort: 'params', limit: 7 }).models.map((m) => m.id), ids.slice(0, 7), 'the other style of names');
    same(catalog.find('?' + whole.query).models, whole.models, 'its query string finds the same');
    same(catalog.find(new URLSearchParams(whole.query)).models, whole.models, 'also as URLSearchParams');
    const { size } = catalog.facets(query);
    for (const { value, count } of size.values) same(catalog.find({ ...query, size: value }).total, count, `facet ${value}: as many as it finds`);
    same(catalog.get(ids[0], query)?.id, ids[0], 'one model');
    same(catalog.get('none'), undefined, 'one that is not there');
    same([catalog.remove(ids[0]), catalog.remove(ids[0]), catalog.get(ids[0])], [true, false, undefined], 'removed');
    same(catalog.load(JSON.stringify(all.slice(0, 5))), { added: 5, rejected: [] }, 'a list as text');
    const odd = catalog.load(`{"format":"rbee catalogue","version":1}\n{"id":"a/b"\n${JSON.stringify({ entry: all[7], shapes: {} })}\n\n{"id":7}\n{"end":1,"sha256":""}\n`);
    ok(odd.added === 1 && odd.rejected.map((r) => r.index).join() === '0,2', 'lines of a snapshot, and wrong ones by their place', odd);
    same(catalog.add([all[1], 7, { id: 'x/y', tags: ['gguf', 'llama'] }]).rejected.map((r) => r.index), [1], 'models, and what is none');
    for (const [what, q] of [['a field', { colour: 'red' }], ['a size', { size: 'huge' }], ['a cursor', { cursor: 'x' }], ['a limit', { limit: 0 }], ['text', 'q=%zz']])
        same(code(() => catalog.find(q)), 'invalid_request', `${what} that is wrong`);
    same(code(() => catalog.judge([{ memory: '16GB' }])), 'invalid_request', 'a machine that is wrong');
    same(code(() => new compat.Catalog([{ worker: 'none' }])), 'not_found', 'a worker that does not exist');
    same(code(() => catalog.load('[{')), 'malformed_file', 'a list that breaks off');
    catalog.free();
    catalog.free();
    same(code(() => catalog.find()), 'invalid_request', 'a catalogue that was freed');
    const turn = (times) => {
        for (let i = 0; i < times; i++) {
            const one = new compat.Catalog(machines);
            one.load(text);
            one.find();
            one.free();
        }
        return compat.memoryBytes();
    };
    same([turn(5), turn(20)], Array(2).fill(compat.memoryBytes()), 'catalogues, one after the other, take the memory of one');
    const some = Array.from({ length: 16 }, () => new compat.Catalog());
    same(code(() => new compat.Catalog()), 'limit_exceeded', 'there can be sixteen at once');
    for (const one of some) one.free();
}

let seed = 1;
const random = (k) => (seed = (seed * 1103515245 + 12345) % 2147483648) % k;

function wrongInputs() {
    const loop = {};
    loop.loop = loop;
    const deep = JSON.parse('['.repeat(400) + ']'.repeat(400));
    const models = [undefined, null, 3, 'x', [], () => 1, 1n, Symbol('x'), loop, deep, { id: 3 }, { id: 'a', tags: {} }, { id: 'a', siblings: [1] },
        { id: 'a', gguf: { total: -1 } }, { architecture: 'llama', format: 'zip' }, { id: '\ud800' }, { get id() { throw null; } },
        { toJSON() { return undefined; } }, { id: 'x'.repeat(100_000_000) }];
    const codes = models.map((m) => code(() => compat.isModelCompatible(m)));
    ok(codes.every((c) => ['invalid_request', 'malformed_file', 'limit_exceeded'].includes(c)), 'wrong models are typed errors', codes);
    same(code(() => compat.isModelCompatible({ id: 'a' }, { worker: 'none' })), 'not_found', 'a worker that does not exist');
    same(code(() => compat.isModelCompatible({ id: 'a' }, { worker: { id: 1 } })), 'malformed_file', 'capabilities that are none');
    const check = (options) => code(() => compat.checkModelWorkerCompatibility({ id: 'a' }, 'llm-worker-rbee-cpu', options));
    same([{ context: -1 }, { context: '8k' }, { slots: 1.5 }, { kvType: 'q3' }].map(check), Array(4).fill('invalid_request'), 'wrong options');
    same(code(() => compat.filterWorkers({ shape: 'round' })), 'invalid_request', 'a filter that does not exist');
    const e = thrown(() => compat.filterWorkers({ shape: 'round' }));
    ok(e instanceof Error && e.name === 'CompatError' && e.status === 400 && e.exit === 64 && e.message.includes('shape'), 'an error says what, and its facts');

    const replies = new Set();
    for (let i = 0; i < 3000; i++) {
        const from = requests[random(requests.length)].request.slice(0, 20000) || '{';
        const at = random(from.length || 1), cut = random(12);
        const text = from.slice(0, at) + ['', '"', '}', ']', '-', '1e999', '\u0000', 'null', '[', '{', ':'][random(11)] + from.slice(at + cut);
        const { ok: good, text: reply } = compat.answer(text);
        replies.add(good ? 'ok' : JSON.parse(reply).error.code);
    }
    ok([...replies].every((c) => ['ok', 'invalid_request', 'malformed_file', 'limit_exceeded', 'not_found', 'unsupported'].includes(c)),
        'requests with random faults are answered', [...replies]);
}

function memory() {
    const small = vectors(root).filter((r) => r.module === 'compat').map((r) => r.request);
    const grow = () => {
        for (let i = 0; i < 4000; i++) compat.answer(small[i % small.length]);
        compat.answer(JSON.stringify({ call: 'compatible_indexes', worker: compat.bundledCapabilities()[0],
            models: Array.from({ length: 20000 }, (_, i) => ({ id: `a/${i}`, tags: ['gguf', 'llama'] })) }));
        return compat.memoryBytes();
    };
    grow();
    const first = grow();
    same([grow(), grow(), grow()], [first, first, first], 'memory does not grow with the number of calls');
    console.log(`# ${(first / 2 ** 20).toFixed(1)} MiB after a list of 20,000 models in one request`);
}

// ---- in Chromium ----

async function browser() {
    const chromium = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
    if (!chromium) return skip('Chromium is not installed');
    let playwright;
    try {
        playwright = createRequire(join(npm, 'package.json'))('playwright-core');
    } catch (e) {
        return skip(`the npm package playwright-core is not installed (${e.code})`);
    }
    const page = `<!doctype html><meta charset=utf-8><title>compat</title><script type=module>
        import * as compat from '/package/dist/index.js';
        import { answerFiles, initFiles } from '/package/dist/files.js';
        try {
            await Promise.all([compat.init(), initFiles(fetch('/package/dist/files.wasm'))]);
            const answers = [];
            for (const r of await (await fetch('/requests.json')).json()) {
                const bytes = r.file && new Uint8Array(await (await fetch('/golden/' + r.file)).arrayBuffer());
                answers.push((r.module === 'files' ? answerFiles(r.request, bytes) : compat.answer(r.request)).text);
            }
            const worker = compat.listWorkers()[0].id;
            window.result = { answers, worker };
        } catch (e) {
            window.result = { error: String(e.stack ?? e) };
        }
    </script>`;
    const golden = join(root, 'tests/golden/families');
    const types = { '.js': 'text/javascript', '.wasm': 'application/wasm' };
    const server = http.createServer((req, res) => {
        const path = normalize(req.url);
        const send = (type, body) => res.writeHead(200, { 'content-type': type }).end(body);
        if (path === '/') return send('text/html', page);
        if (path === '/requests.json')
            return send('application/json', JSON.stringify(requests.map((r) => ({ ...r, file: r.file && relative(golden, r.file) }))));
        if (path.startsWith('/golden/')) return send('application/octet-stream', readFileSync(join(golden, path.slice(8))));
        const file = join(home, path);
        if (!path.startsWith('/package/dist/') || !existsSync(file)) return res.writeHead(404).end();
        send(types[extname(file)] ?? 'text/plain', readFileSync(file));
    });
    await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
    let window;
    try {
        window = await playwright.chromium.launch({ executablePath: chromium, headless: true,
            args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'], env: { ...process.env, HOME: home } });
        const tab = await window.newPage();
        await tab.goto(`http://127.0.0.1:${server.address().port}/`);
        await tab.waitForFunction('window.result', null, { timeout: 120_000 });
        const { answers, worker, error } = await tab.evaluate('window.result');
        if (ok(!error, `a page with <script type=module>, in Chromium ${window.version()}`, error)) {
            same(worker, 'llm-worker-rbee-cpu', 'the functions work there');
            compare(answers, 'Chromium');
        }
    } catch (e) {
        ok(false, 'Chromium runs', e.stack);
    } finally {
        await window?.close();
        server.close();
    }
}

// ---- as a new user ----

function newProject() {
    const packed = run('npm pack', 'npm', ['pack', '--json', '--pack-destination', home, '--offline'], { cwd: pack });
    if (!packed) return;
    const said = JSON.parse(packed);
    const { filename, files } = Array.isArray(said) ? said[0] : Object.values(said)[0];
    const names = files.map((f) => f.path);
    ok(['package.json', 'README.md', 'LICENSE', 'dist/index.js', 'dist/index.d.ts', 'dist/compat.wasm'].every((f) => names.includes(f)) &&
        names.every((f) => !/^src\/|\.map$|tsconfig/.test(f)), 'the package holds what it should and no more', names);
    const project = join(home, 'project');
    cpSync(join(root, 'tests/node/project'), project, { recursive: true });
    if (run('npm install', 'npm', ['install', '--offline', '--no-audit', '--no-fund', join(home, filename)], { cwd: project }) === undefined) return;
    // Every answer is of the type that its function has, no member more or less.
    const types = { check_model_worker_compatibility: 'Verdict', list_workers: '{ workers: Worker[] }', get_worker: 'Worker',
        compatibility: '{ rows: MatrixRow[] }', catalog_find: 'CatalogPage', catalog_facets: 'Facets', catalog_get: 'CatalogModel',
        check_gguf_header: 'HeaderAnswer' };
    const answers = Object.fromEntries(Object.keys(types).map((call) => [call, []]));
    requests.slice(0, requests.length - real(root).length).forEach((r, i) => {
        const known = answers[r.request.match(/^\{"call":"(\w+)"/)?.[1]];
        if (known && !native[i].startsWith('{"error"') && native[i].length < 300_000) known.push(native[i]);
    });
    ok(Object.values(answers).every((list) => list.length > 0), 'there are answers of all types', Object.keys(answers).filter((k) => !answers[k].length));
    const lists = Object.entries(answers).map(([call, list]) => `export const ${call}: (${types[call]})[] = [\n${list.join(',\n')}\n];\n`);
    writeFileSync(join(project, 'src/answers.ts'), `import type { CatalogModel, CatalogPage, Facets, MatrixRow, Verdict, Worker } from "@rbee/compat";
import type { HeaderAnswer } from "@rbee/compat/files";\n\n${lists.join('\n')}`);
    const tsc = join(npm, 'node_modules/.bin/tsc');
    if (run('a strict project compiles, by the rules of Node', tsc, ['-p', '.'], { cwd: project }) === undefined) return;
    run('and by those of bundlers for pages', tsc, ['-p', 'tsconfig.web.json'], { cwd: project });
    const out = run('it runs', process.execPath, ['dist/main.js'], { cwd: project });
    ok(out?.trim().endsWith('all is well'), 'and finds what it should', out);
}

await starting();
defects();
functions();
byFiles();
catalogs();
wrongInputs();
memory();
await browser();
newProject();
finish();
