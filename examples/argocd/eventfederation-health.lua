-- The health of an EventFederation for Argo CD: the value of the key
--   resource.customizations.health.eventfed.io_EventFederation
-- in the ConfigMap argocd-cm. Without it, Argo CD takes each EventFederation for healthy at once.
local health = {status = "Progressing", message = "The operator has not looked at it yet"}
if obj.status == nil or obj.status.conditions == nil then
  return health
end
if obj.metadata.generation ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "The operator has not looked at the change yet"
  return health
end
local ready, stalled
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Ready" then ready = condition end
  if condition.type == "Stalled" then stalled = condition end
end
if stalled ~= nil and stalled.status == "True" then
  return {status = "Degraded", message = stalled.reason .. ": " .. stalled.message}
end
if ready == nil then
  return health
end
health.message = ready.reason .. ": " .. ready.message
if ready.status == "True" then
  health.status = ready.reason == "Paused" and "Suspended" or "Healthy"
elseif ready.status == "False" and ready.reason ~= "Syncing" then
  health.status = "Degraded"
end
return health
