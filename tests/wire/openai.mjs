// The npm client `openai`, unmodified, against queen, hive and worker: what a user of it does and expects.
import { spawn, execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import http from 'node:http';

const root = process.env.RBEE_ROOT ?? join(dirname(fileURLToPath(import.meta.url)), '../..');
const bin = process.env.RBEE_BIN ?? join(root, 'build/release/bin');

// ---- TAP ----
let n = 0, bad = 0;
function ok(good, name, ...more) {
    console.log(`${good ? 'ok' : 'not ok'} ${++n} - ${name}`);
    if (good) return;
    bad++;
    for (const m of more) console.log(`#   ${typeof m === 'string' ? m : m instanceof Error ? m.stack?.replaceAll('\n', '\n#   ') : JSON.stringify(m)}`);
}
const same = (got, want, name) => ok(JSON.stringify(got) === JSON.stringify(want), name, { got, want });
function skipAll(why) {
    console.log(`1..0 # SKIP ${why}\nok 1 # SKIP ${why}`.split('\n').reverse().join('\n').replace('1..0', '1..1'));
    process.exit(0);
}

let OpenAI;
try {
    const require = createRequire(join(process.env.RBEE_NODE ?? join(root, 'build/node'), 'package.json'));
    ({ default: OpenAI } = await import(pathToFileURL(require.resolve('openai').replace(/\.js$/, '.mjs')).href));
} catch (e) {
    skipAll(`the npm package openai is not installed (${e.code ?? e.message.split('\n')[0]})`);
}
if (Number(process.versions.node.split('.')[0]) < 22) skipAll(`Node.js 22 is not here, only ${process.versions.node}`);

// ---- a queen of our own ----
const home = mkdtempSync(join(process.env.HOME?.startsWith(tmpdir()) ? process.env.HOME : tmpdir(), 'rbee-node-'));
mkdirSync(join(home, 'models'));
execFileSync(join(bin, '../tools/mkmodel'), ['tiny-llama', 'q8_0', join(home, 'models/tiny.gguf')]);
for (const [family, name] of [['modern-bert', 'encoder'], ['bert-rank', 'ranker']])
    copyFileSync(join(root, 'tests/golden/families', family, 'model.gguf'), join(home, `models/${name}.gguf`));
const shipped = join(root, 'models/rbee-tiny.gguf');
if (existsSync(shipped)) copyFileSync(shipped, join(home, 'models/text.gguf'));
const model = existsSync(shipped) ? 'text' : 'tiny';
const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => !/^(RBEE_|XDG_)/.test(k)));
Object.assign(env, { HOME: home, RBEE_MODELS: join(home, 'models'), RBEE_THREADS: '2' });
const queen = spawn(join(bin, 'rbee'), ['queen', '--port', '0', '--ctx', '65536', '--log-level', 'warn'],
    { env, stdio: ['ignore', 'pipe', 'inherit'] });
process.on('exit', () => {
    queen.kill('SIGKILL');
    rmSync(home, { recursive: true, force: true });
});
setTimeout(() => {
    console.log('# the test did not end within 300 s');
    process.exit(1);
}, 300_000).unref();
const port = await new Promise((resolve, reject) => {
    queen.stdout.once('data', (d) => resolve(JSON.parse(d).port));
    queen.once('exit', (code) => reject(new Error(`the queen ended with ${code}`)));
});
const base = `http://127.0.0.1:${port}`;
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: 'none needed', maxRetries: 0 });

async function workers() {
    return (await (await fetch(`${base}/v1/workers`)).json()).workers;
}

// What the worker itself says, over its unix socket: the hive's copy is up to a second old.
async function info() {
    const [w] = await workers();
    const args = readFileSync(`/proc/${w.pid}/cmdline`, 'utf8').split('\0');
    const socketPath = args[args.indexOf('--listen') + 1].replace(/^unix:/, '');
    return new Promise((resolve, reject) => {
        http.get({ socketPath, path: '/v1/info' }, (res) => {
            let text = '';
            res.on('data', (d) => (text += d)).on('end', () => resolve(JSON.parse(text)));
        }).on('error', reject);
    });
}

const messages = [{ role: 'system', content: 'You are kind.' }, { role: 'user', content: 'Tell me a story about a fox.' }];
const greedy = { model, messages, temperature: 0, max_tokens: 24, ignore_eos: true };

// ---- chat ----
const whole = await client.chat.completions.create(greedy);
ok(whole.object === 'chat.completion' && whole.choices[0].message.content.length > 0, 'chat.completions.create', whole);
same(whole.usage.completion_tokens, 24, 'usage');
ok(typeof whole._request_id === 'string', 'the client sees a request id', whole);

// ---- streaming ----
let text = '', chunks = 0, usage = null;
for await (const c of await client.chat.completions.create({ ...greedy, stream: true, stream_options: { include_usage: true } })) {
    text += c.choices[0]?.delta?.content ?? '';
    chunks++;
    usage = c.usage ?? usage;
}
same(text, whole.choices[0].message.content, 'a stream gives the same text');
ok(chunks > 2 && usage?.completion_tokens === 24, 'in pieces, with usage at the end', chunks, usage);
const runner = client.chat.completions.stream(greedy);
same((await runner.finalChatCompletion()).choices[0].message.content, text, 'the stream helper puts it together');
const old = await client.completions.create({ model: 'tiny', prompt: 'Once', max_tokens: 5, temperature: 0 });
ok(old.object === 'text_completion' && typeof old.choices[0].text === 'string', 'completions.create', old);

// ---- models ----
const names = [];
for await (const m of client.models.list()) names.push(m.id);
ok(names.includes('tiny'), 'models.list', names);
same((await client.models.retrieve('tiny')).id, 'tiny', 'models.retrieve');

// ---- parameters ----
const four = await client.chat.completions.create({ ...greedy, n: 4, temperature: 1, seed: 3, logprobs: true, top_logprobs: 2 });
same(four.choices.map((c) => c.index), [0, 1, 2, 3], 'n = 4');
ok(four.choices.every((c) => c.logprobs.content.length === 24 && c.logprobs.content[0].top_logprobs.length === 2),
    'with logprobs');
const parts = await client.chat.completions.create({ ...greedy, messages: [{ role: 'user', content: [{ type: 'text', text: 'Tell me a story about a fox.' }] }], max_completion_tokens: 3, max_tokens: undefined });
same(parts.usage.completion_tokens, 3, 'content as parts, max_completion_tokens');

// ---- errors ----
async function refused(promise, Type, status, code, name) {
    try {
        await promise;
        ok(false, name, 'it was served');
    } catch (e) {
        ok(e instanceof Type && e.status === status && e.code === code && e.message.length > 10, `${name}: ${status} ${code}`, e);
    }
}
await refused(client.chat.completions.create({ ...greedy, model: 'gpt-9' }), OpenAI.NotFoundError, 404, 'model_not_found', 'a bad model name');
await refused(client.chat.completions.create({ ...greedy, temperature: 'hot' }), OpenAI.BadRequestError, 400, 'invalid_request', 'a bad parameter');
await refused(client.models.retrieve('gpt-9'), OpenAI.NotFoundError, 404, 'model_not_found', 'no such model');
await refused(client.post('/chat/completions', { body: '{"model": "tiny", ', headers: { 'content-type': 'application/json' } }), OpenAI.BadRequestError, 400, 'invalid_request', 'bad JSON');
await refused(client.chat.completions.create({ ...greedy, messages: [{ role: 'user', content: 'x'.repeat(33 << 20) }] }), OpenAI.APIError, 413, 'limit_exceeded', 'an oversized body');
await refused(client.chat.completions.create({ ...greedy, model: 'gpt-9', stream: true }), OpenAI.NotFoundError, 404, 'model_not_found', 'a stream of a bad model');

// ---- abort ----
const long = { model: 'tiny', prompt: 'Once', max_tokens: 60_000, temperature: 0, ignore_eos: true };
await client.completions.create({ ...long, max_tokens: 1 });
const before = await info();
const stream = await client.completions.create({ ...long, stream: true });
let got = 0;
for await (const _ of stream) if (++got === 5) break; // leaving the loop aborts
let freed = false, after;
for (let i = 0; i < 100 && !freed; i++) {
    after = await info();
    freed = after.active === 0;
    if (!freed) await sleep(10);
}
ok(freed && after.jobs_cancelled === before.jobs_cancelled + 1, 'leaving a stream cancels the job', after);
const stopped = after.steps;
await sleep(200);
same((await info()).steps, stopped, 'and the engine makes no further step for it');
const control = new AbortController();
const pending = client.completions.create(long, { signal: control.signal });
for (let i = 0; i < 200 && (await info()).active === 0; i++) await sleep(5);
control.abort();
try {
    await pending;
    ok(false, 'abort of a whole reply', 'it was served');
} catch (e) {
    ok(e instanceof OpenAI.APIUserAbortError, 'abort of a whole reply', e);
}
freed = false;
for (let i = 0; i < 100 && !freed; i++) {
    freed = (await info()).active === 0;
    if (!freed) await sleep(10);
}
ok(freed, 'frees its slot too');

// ---- 32 streams at once ----
const one = async (i) => {
    let t = '';
    for await (const c of await client.completions.create({ model: 'tiny', prompt: `Number ${i}`, max_tokens: 64, temperature: 0, stream: true, ignore_eos: true })) t += c.choices[0]?.text ?? '';
    return t;
};
const together = await Promise.all(Array.from({ length: 32 }, (_, i) => one(i)));
let equal = 0;
for (let i = 0; i < 32; i++) equal += (await one(i)) === together[i];
// Random weights have near ties, which the shape of a batch may decide.
ok(equal >= 26, '32 streams at once, each as it is alone but for near ties', equal);

// ---- vectors ----
const close = (a, b, most = 1e-6) => a.length === b.length && a.every((x, i) => Math.abs(x - b[i]) <= most);
const length = (v) => Math.sqrt(v.reduce((s, x) => s + x * x, 0));
const input = ['a b c', 'some other text', 'x'];
const floats = await client.embeddings.create({ model: 'encoder', input, encoding_format: 'float' });
ok(floats.object === 'list' && floats.model === 'encoder' && floats.data.map((d) => d.index).join() === '0,1,2' &&
    floats.data.every((d) => d.object === 'embedding' && d.embedding.length === 24 && Math.abs(length(d.embedding) - 1) < 1e-5),
    'three texts, three vectors of length 1', floats);
ok(floats.usage.prompt_tokens > 3 && floats.usage.total_tokens === floats.usage.prompt_tokens, 'and their usage', floats.usage);
const packed = await client.embeddings.create({ model: 'encoder', input }); // the client asks for base64 by itself
ok(packed.data.every((d, i) => close(d.embedding, floats.data[i].embedding)), 'base64 holds the same numbers');
const single = await client.embeddings.create({ model: 'encoder', input: input[1], encoding_format: 'float' });
ok(close(single.data[0].embedding, floats.data[1].embedding, 1e-5), 'a text alone has the same vector');
const ids = await client.embeddings.create({ model: 'encoder', input: [[5, 6, 7], [8]], encoding_format: 'float' });
same([ids.data.length, ids.usage.prompt_tokens], [2, 4], 'token ids are taken as such');
const cut = await client.embeddings.create({ model: 'encoder', input: input[0], dimensions: 8, encoding_format: 'float' });
const first = floats.data[0].embedding.slice(0, 8);
ok(close(cut.data[0].embedding, first.map((x) => x / length(first)), 1e-5), 'dimensions: the first eight, again of length 1');
const raw = await client.embeddings.create({ model: 'encoder', input: input[0], normalize: false, pooling: 'cls', encoding_format: 'float' });
ok(Math.abs(length(raw.data[0].embedding) - 1) > 1e-3, 'normalize and pooling are heard', length(raw.data[0].embedding));
for (const [what, body, word] of [
    ['too many dimensions', { model: 'encoder', input: 'x', dimensions: 25 }, '24'],
    ['an empty list', { model: 'encoder', input: [] }, 'input'],
    ['a model that generates text', { model: 'tiny', input: 'x' }, 'embedding model'],
    ['a text that is too long', { model: 'encoder', input: 'a b c d '.repeat(2000) }, 'tokens'],
]) {
    try {
        await client.embeddings.create(body);
        ok(false, `${what} is refused`, 'it was served');
    } catch (e) {
        ok(e instanceof OpenAI.BadRequestError && e.message.includes(word), `${what} is refused: ${e.message}`, e);
    }
}
try {
    await client.chat.completions.create({ model: 'encoder', messages });
    ok(false, 'a chat with an encoder is refused', 'it was served');
} catch (e) {
    ok(e instanceof OpenAI.BadRequestError && e.message.includes('does not generate'), `a chat with an encoder is refused: ${e.message}`, e);
}
const many = await Promise.all(Array.from({ length: 16 }, () => client.embeddings.create({ model: 'encoder', input, encoding_format: 'float' })));
ok(many.every((m) => m.data.every((d, i) => close(d.embedding, floats.data[i].embedding, 1e-5))), '16 requests at once, each as it is alone');
const rerank = async (body) => {
    const r = await fetch(`${base}/v1/rerank`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model: 'ranker', ...body }) });
    return { status: r.status, ...(await r.json()) };
};
const documents = ['first one', 'b', { text: 'the third' }, 'd e f'];
const ranks = await rerank({ query: 'what?', documents, return_documents: true });
ok(ranks.results.length === 4 && ranks.results.every((r, i) => i === 0 || r.relevance_score <= ranks.results[i - 1].relevance_score) &&
    ranks.results.every((r) => r.relevance_score > 0 && r.relevance_score < 1 && r.document.text === (documents[r.index].text ?? documents[r.index])),
    'rerank: all documents, the best first, scores within 0 and 1', ranks);
const best = await rerank({ query: 'what?', documents, top_n: 1, raw_scores: true });
const odds = ranks.results[0].relevance_score;
ok(best.results.length === 1 && best.results[0].index === ranks.results[0].index && Math.abs(best.results[0].relevance_score - Math.log(odds / (1 - odds))) < 1e-4,
    'top_n and raw_scores', best);
same([(await rerank({ query: '', documents })).status, (await rerank({ model: 'encoder', query: 'x', documents })).status], [400, 400],
    'no query, and a model without a classifier, are refused');

// ---- a worker that dies ----
const dying = await client.completions.create({ ...long, stream: true });
const began = performance.now();
let failure = null;
try {
    let i = 0;
    for await (const _ of dying) if (++i === 3) process.kill((await workers()).find((w) => w.model === 'tiny').pid, 'SIGKILL');
} catch (e) {
    failure = e;
}
ok(failure instanceof OpenAI.APIError && failure.message.includes("the worker ended before the reply was complete"), 'kill -9 of the worker: the client throws an APIError', failure ?? 'it ended as if complete');
ok(performance.now() - began < 3500, 'within 3 s');
same((await client.completions.create({ ...long, max_tokens: 2 })).usage.completion_tokens, 2, 'and the next request works');

queen.kill('SIGTERM');
const code = await new Promise((r) => queen.once('exit', r));
same(code, 0, 'the queen ends cleanly');
console.log(`1..${n}`);
process.exit(bad ? 1 : 0);
