// Reads recommendations and sends feedback with the generated TypeScript client; prints what it got as JSON.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { argv: string[] };

const [url, key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });
const path = "/v1/users/{user_id}/recommendations";

const { data: page, error } = await client.GET(path, {
  params: { path: { user_id: 5 }, query: { limit: 2, exclude: [6], explain: true } },
});
if (!page) throw new Error(`no recommendations: ${error?.type}`);
const tracks: number[] = page.recommendations.map((track) => track.track_id);
// @ts-expect-error a rank is a number
const rank: string | undefined = page.recommendations[0]?.rank;

const { data: report } = await client.POST("/v1/feedback/batch", {
  body: { feedback: [{ user_id: page.user_id, track_id: 9, kind: "like" }] },
});
const { error: problem } = await client.GET(path, { params: { path: { user_id: 404 } } });
const { response } = await client.GET("/v1/popular", { params: { header: { "If-None-Match": "*" } } });

console.log(JSON.stringify({ tracks, accepted: report?.accepted, problem: problem?.type, unchanged: response.status }));
