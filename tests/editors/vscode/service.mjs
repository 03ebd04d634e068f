// An engine elsewhere that writes down one text: infill asks it as it asks vLLM, and gets what of the text is not there yet.
//
//   const service = await Service.start("    if x:\n        return 1");   service.url;   service.stop()
//   const slow = await Service.start("    x = 1", 1200);   // it thinks for 1200 ms
import { createServer } from "node:http";

const MODEL = { id: "DeepSeek-Coder-V2-Lite-Base", object: "model", owned_by: "vllm", max_model_len: 4096 };

export class Service {
  constructor(server) {
    this.server = server;
    this.url = `http://127.0.0.1:${server.address().port}`;
  }

  static start(text, thinks = 0) {
    const server = createServer((request, response) => answer({ text, thinks }, request, response));
    return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(new Service(server))));
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

async function answer({ text, thinks }, request, response) {
  const body = Buffer.concat(await Array.fromAsync(request)).toString();
  if (request.url === "/v1/models") return json(response, 200, { object: "list", data: [MODEL] });
  if (request.url !== "/v1/completions") return json(response, 404, { detail: "Not Found" });
  await new Promise((resolve) => setTimeout(resolve, thinks));
  response.writeHead(200, { "content-type": "text/event-stream" });
  const choice = { text: rest(text, JSON.parse(body).prompt), finish_reason: "stop", logprobs: { token_logprobs: [-0.1] } };
  response.end(`data: ${JSON.stringify({ choices: [choice] })}\n\ndata: [DONE]\n\n`);
}

function json(response, status, value) {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}

/** What of the text is not yet before the cursor: the prompt's prefix with what was typed since, behind its last marker. */
function rest(text, prompt) {
  const [, before, typed] = /<｜fim▁begin｜>(.*)<｜fim▁hole｜>.*<｜fim▁end｜>(.*)/s.exec(prompt) ?? [];
  if (before === undefined) return "x"; // a question about the server, not about code
  let length = text.length;
  while (!(before + typed).endsWith(text.slice(0, length))) length--;
  return text.slice(length);
}
