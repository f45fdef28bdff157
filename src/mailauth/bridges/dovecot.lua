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
-- What is told of an attempt, as 2.3 calls it, and as 2.4 does where that is something else.
local SAID = {
  service = "protocol",
  rip = "remote_ip",
  lip = "local_ip",
  rport = "remote_port",
  lport = "local_port",
  secured = "secured",
  session = "session",
  local_name = "local_name",
  client_id = "client_id",
}

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
        request_timeout = PATIENCE_MSECS .. "ms",
        request_absolute_timeout = PATIENCE_MSECS .. "ms",
        request_max_attempts = 1,
        request_max_redirects = 0,
        user_agent = "dovecot-mailauth",
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

-- What is known of an attempt under this name, if anything is; 2.3 minds names that it does not know.
local function known(req, name)
  local told, value = pcall(function() return req[name] end)
  return told and value ~= "" and value or nil
end

local function form(req, password)
  local pairs_of_it = { "user=" .. encoded(req.user or ""), "password=" .. encoded(password) }
  for name, since_24 in pairs(SAID) do
    local value = known(req, name) or known(req, since_24)
    if value then
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
    return NOT_NOW, ""
  end
  if answer.result == "ok" and answer.user then
    -- 2.4 knows a session by its user_ fields: while it is being logged in by the passdb's, afterwards by the userdb's.
    local fields = { user = answer.user, user_app = answer.user_app, userdb_user_app = answer.user_app }
    return dovecot.auth.PASSDB_RESULT_OK, fields
  end
  return RESULTS[answer.result] or NOT_NOW, "" -- no fields: what 2.3 and 2.4 both take
end
