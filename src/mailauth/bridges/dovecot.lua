-- Dovecot asks mailauth whether a password is right: passdb lua, Dovecot 2.3 (with blocking=yes) and 2.4.
--
-- It needs nothing but Dovecot's own HTTP client. Whatever goes wrong is an internal failure, which Dovecot's clients
-- hear as "not now"; only a verdict is ever told as a wrong password.
--
-- Settings: on 2.4 lua_settings { url = ..., token_file = ... }. 2.3 has no way to hand them over: there, name a file
-- of your own in passdb, which sets the global `mailauth` and then runs this one by dofile; see docs/bridges.md.

mailauth = mailauth or {}
local settings = mailauth
local client = nil

-- Postfix gives up after ten seconds, and mailauth itself answers within eight.
local PATIENCE_MSECS = 9000
local RESULTS = {
  mismatch = dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH,
  disabled = dovecot.auth.PASSDB_RESULT_USER_DISABLED,
  expired = dovecot.auth.PASSDB_RESULT_PASS_EXPIRED,
}
local NOT_NOW = dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE
local SAID = { "service", "rip", "lip", "rport", "lport", "secured", "session", "local_name", "client_id" }

function script_init(args)
  for _, name in ipairs({ "url", "token_file" }) do
    if type(args) == "table" and args[name] then
      settings[name] = args[name]
    end
  end
  return 0
end

function script_deinit()
end

local function http_client()
  if client == nil then
    local told, made = pcall(dovecot.http.client, {
      request_timeout_msecs = PATIENCE_MSECS,
      request_absolute_timeout_msecs = PATIENCE_MSECS,
      max_attempts = 1,
      max_redirects = 0,
      user_agent = "dovecot-mailauth",
    })
    if not told then -- 2.4 has other names for these, and minds those it does not know
      made = dovecot.http.client({
        http_client_request_timeout = PATIENCE_MSECS .. "ms",
        http_client_request_absolute_timeout = PATIENCE_MSECS .. "ms",
        http_client_request_max_attempts = 1,
        http_client_request_max_redirects = 0,
        http_client_user_agent = "dovecot-mailauth",
      })
    end
    client = made
  end
  return client
end

-- Read for each login: one that was replaced counts from then on, and no worker holds on to the old one.
local function token()
  local file = assert(io.open(settings.token_file, "r"))
  local line = file:read("l")
  file:close()
  return assert(line, "the token file is empty")
end

local function encoded(text)
  return (text:gsub("[^A-Za-z0-9_.~-]", function(octet)
    return string.format("%%%02X", octet:byte())
  end))
end

local function form(req, password)
  local pairs_of_it = { "user=" .. encoded(req.user or ""), "password=" .. encoded(password) }
  for _, name in ipairs(SAID) do
    local known, value = pcall(function() return req[name] end)
    if known and value ~= nil and value ~= "" then
      pairs_of_it[#pairs_of_it + 1] = name .. "=" .. encoded(tostring(value))
    end
  end
  return table.concat(pairs_of_it, "&")
end

local function ask(req, password)
  local request = http_client():request({ url = settings.url, method = "POST" })
  request:add_header("Content-Type", "application/x-www-form-urlencoded")
  request:add_header("Authorization", "Bearer " .. token())
  request:set_payload(form(req, password))
  local response = request:submit()
  if response:status() ~= 200 then
    return nil, "mailauth answered " .. tostring(response:status())
  end
  local answer = {}
  for name, value in response:payload():gmatch("([a-z_]+)=([^\r\n]*)\n") do
    answer[name] = value
  end
  return answer
end

function auth_password_verify(req, password)
  local whole, answer, why = pcall(ask, req, password)
  if not whole then
    answer, why = nil, tostring(answer)
  end
  if answer == nil then
    dovecot.i_error("mailauth could not be asked: " .. why)
    return NOT_NOW, {}
  end
  if answer.result == "ok" and answer.user then
    return dovecot.auth.PASSDB_RESULT_OK, { user = answer.user, user_app = answer.user_app }
  end
  return RESULTS[answer.result] or NOT_NOW, {}
end
