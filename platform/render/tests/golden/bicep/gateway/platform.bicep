// Rendered by `cargo xtask render`: a change here is lost with the next one.

param gatewayId string

param gatewayPrincipalId string

param routerId string

param routerPrincipalId string

param telemetryName string

param vaultName string

resource telemetry 'Microsoft.Insights/components@2020-02-02' existing = {
  name: telemetryName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource telemetrySecret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' existing = {
  parent: vault
  name: 'appinsights-connection-string'
}

resource roleSecretsUserTelemetrySecretTheGateway 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetrySecret
  name: guid(telemetrySecret.id, gatewayId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6'))
  properties: {
    principalId: gatewayPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
    principalType: 'ServicePrincipal'
    description: 'Key Vault Secrets User for the gateway on the secret appinsights-connection-string.'
  }
}

resource roleMetricsPublisherTelemetryTheGateway 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetry
  name: guid(telemetry.id, gatewayId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb'))
  properties: {
    principalId: gatewayPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb')
    principalType: 'ServicePrincipal'
    description: 'Monitoring Metrics Publisher for the gateway on Application Insights.'
  }
}

resource roleSecretsUserTelemetrySecretGatewayRouter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetrySecret
  name: guid(telemetrySecret.id, routerId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6'))
  properties: {
    principalId: routerPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
    principalType: 'ServicePrincipal'
    description: 'Key Vault Secrets User for gateway-router on the secret appinsights-connection-string.'
  }
}

resource roleMetricsPublisherTelemetryGatewayRouter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetry
  name: guid(telemetry.id, routerId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb'))
  properties: {
    principalId: routerPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb')
    principalType: 'ServicePrincipal'
    description: 'Monitoring Metrics Publisher for gateway-router on Application Insights.'
  }
}

output telemetryId string = telemetry.id

