// node gateway.cjs PORT ORIGIN RATE LOG [REDIS_PORT]: a gateway as fastify's documentation writes it.
const [port, origin, rate, log, redisPort] = process.argv.slice(2);
const fastify = require("fastify")({
  logger: { file: log },
  requestIdHeader: "x-request-id",
  keepAliveTimeout: 60000,
});
const Redis = redisPort ? require("ioredis") : null;

async function main() {
  await fastify.register(require("@fastify/rate-limit"), {
    max: Number(rate),
    timeWindow: 1000,
    cache: 20000,
    keyGenerator: (request) => request.headers["x-auth-token"] || request.ip,
    redis: Redis ? new Redis({ host: "127.0.0.1", port: Number(redisPort) }) : undefined,
  });
  fastify.addHook("onSend", async (request, reply) => {
    reply.header("X-Request-Id", request.id);
  });
  await fastify.register(require("@fastify/http-proxy"), {
    upstream: origin,
    undici: { connections: 256, pipelining: 1, keepAliveTimeout: 60000 },
    replyOptions: {
      rewriteRequestHeaders: (request, headers) => ({
        ...headers,
        "x-request-id": request.id,
        "x-forwarded-for": request.ip,
      }),
    },
  });
  await fastify.listen({ port: Number(port), host: "127.0.0.1" });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
