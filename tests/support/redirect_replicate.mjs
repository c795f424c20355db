// Loaded before an example with Replicate's JavaScript client, which takes its server's address from no
// environment variable: its requests go to REPLICATE_BASE_URL instead.
const fetched = globalThis.fetch;
globalThis.fetch = (url, init) =>
  fetched(String(url).replace("https://api.replicate.com", process.env.REPLICATE_BASE_URL), init);
