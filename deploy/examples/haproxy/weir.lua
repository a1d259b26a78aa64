-- Asks Weir who may pass, and answers with its refusal (docs/decide.md).
local WEIR = "http://127.0.0.1:8081/_weir"
local PATIENCE = tonumber(os.getenv("WEIR_PATIENCE"))  -- milliseconds; then the request passes, as it does while Weir is away
-- Of the client's fields; up to five come on top. Weir takes 100 (downstream.limits.headers), and HAProxy's client
-- crashes beyond its own 101 (tune.http.maxhdr). Whoever lowers one of these lowers this.
local FIELDS_MAX = 95
-- Of this hop alone, or set below.
local DROPPED = {["connection"] = true, ["keep-alive"] = true, ["transfer-encoding"] = true, ["te"] = true,
    ["trailer"] = true, ["upgrade"] = true, ["expect"] = true, ["content-length"] = true, ["proxy-connection"] = true,
    ["x-original-method"] = true, ["x-original-uri"] = true, ["x-forwarded-for"] = true}

local function lines(fields, dropped)
    local kept, count = {}, 0
    for name, values in pairs(fields) do
        if not dropped[name] then
            kept[name] = {}
            for _, value in pairs(values) do
                table.insert(kept[name], value)
                count = count + 1
            end
        end
    end
    return kept, count
end

local function refuse_fields(txn)
    local reply = txn:reply{status = 431}
    reply:add_header("Content-Type", "application/problem+json")
    reply:set_body('{"type":"about:blank","title":"Request Header Fields Too Large","status":431}')
    txn:done(reply)
end

core.register_action("weir", {"http-req"}, function(txn)
    local headers, count = lines(txn.http:req_get_headers(), DROPPED)
    if count > FIELDS_MAX then return refuse_fields(txn) end
    headers["x-original-method"] = {txn.sf:method()}
    headers["x-original-uri"] = {txn.sf:pathq()}
    headers["x-forwarded-for"] = {txn.sf:src()}
    local answer = core.httpclient():get{url = WEIR, headers = headers, timeout = PATIENCE}
    -- Every answer of Weir has a request id; HAProxy's own 503 for a server that is not there has none.
    if not (answer and answer.headers and answer.headers["x-request-id"]) then return end
    if answer.status == 200 then
        for name, variable in pairs({["ratelimit"] = "txn.weir_ratelimit", ["ratelimit-policy"] = "txn.weir_policy"}) do
            if answer.headers[name] then txn:set_var(variable, answer.headers[name][0]) end
        end
        return
    end
    local reply = txn:reply{status = answer.status, body = answer.body}
    for name, values in pairs(lines(answer.headers, DROPPED)) do
        for _, value in pairs(values) do reply:add_header(name, value) end
    end
    txn:done(reply)
end, 0)
