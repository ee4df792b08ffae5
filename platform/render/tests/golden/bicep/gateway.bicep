// Rendered by `cargo xtask render`: a change here is lost with the next one.

targetScope = 'subscription'

@description('The environment\'s name, part of every group\'s name: small letters and digits.')
@minLength(2)
@maxLength(8)
@metadata({ pattern: '^[a-z0-9]*$' })
param environment string

@description('The region of every resource.')
param location string

@description('The tier of API Management: Consumption is paid by the call, StandardV2 limits by key.')
@allowed([
  'Consumption'
  'StandardV2'
])
param gatewayTier string = 'Consumption'

@description('Who answers for the API.')
param publisherEmail string

@description('Whose API it is.')
param publisherName string

@description('The tier of SignalR: the free one takes 20 connections.')
@allowed([
  'Free_F1'
  'Standard_S1'
])
param signalrTier string = 'Free_F1'

@description('The address of SignalR, with {0} where its host name stands.')
param signalrUrl string = 'https://{0}'

@description('Who issues the clients\' tokens.')
param tokenIssuer string = format('{0}{1}/v2.0', az.environment().authentication.loginEndpoint, tenant().tenantId)

@description('The OpenID configuration of who issues the clients\' tokens.')
param tokenConfiguration string = '${format('{0}{1}/v2.0', az.environment().authentication.loginEndpoint, tenant().tenantId)}/.well-known/openid-configuration'

@description('The audience of the clients\' tokens, as in api://skein-dev-clients.')
param tokenAudience string

@description('The audience of the function apps\' tokens, as in api://skein-dev.')
param appAudience string

@description('The client id of the function apps\' Entra application.')
param appClientId string

@description('The address of a site, with {0} where its name stands.')
param siteUrl string = 'https://{0}.azurewebsites.net'

@description('Whether the GraphQL schema may be read.')
@allowed([
  'true'
  'false'
])
param introspection string = 'false'

@description('Whether no GraphQL documents are executed but those of the apps\' lists.')
@allowed([
  'true'
  'false'
])
param persistedOnly string = 'false'

@description('How large an instance is: 512, 2048 or 4096 MB.')
param instanceMemoryMB int = 512

@description('The object id of the service principal that deploys: it writes the pages. Nobody may if it is empty.')
param deployerId string = ''

@description('The client id by which the page signs people in; it asks for a token if it is empty.')
param signInClientId string = ''

@description('The scopes that the page asks for, as in api://skein-dev-clients/.default.')
param signInScope string = ''

@description('How many instances the router has at most.')
param maximumInstanceCount int = 40

@description('How storage accounts are kept: in three zones unless the region has none.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GZRS'
])
param storageRedundancy string = 'Standard_ZRS'

@description('The platform\'s resource group.')
@metadata({ from: 'platform.platformGroup' })
param platformGroup string

@description('The workspace of all logs.')
@metadata({ from: 'platform.workspaceId' })
param workspaceId string

@description('The name of Application Insights.')
@metadata({ from: 'platform.telemetryName' })
param telemetryName string

@description('The name of the vault.')
@metadata({ from: 'platform.vaultName' })
param vaultName string

@description('The address of the vault.')
@metadata({ from: 'platform.vaultUri' })
param vaultUri string

var suffix = take(uniqueString(subscription().subscriptionId, 'skein', environment), 5)

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-skein-${environment}-gateway'
  location: location
  tags: {
    system: 'skein'
    environment: environment
    layer: 'gateway'
  }
}

module gateway 'gateway/gateway.bicep' = {
  name: 'gateway'
  scope: group
  params: {
    environment: environment
    location: location
    suffix: suffix
    workspaceId: workspaceId
    gatewayTier: gatewayTier
    publisherEmail: publisherEmail
    publisherName: publisherName
    signalrTier: signalrTier
    signalrUrl: signalrUrl
    siteUrl: siteUrl
    appAudience: appAudience
    deployerId: deployerId
    storageRedundancy: storageRedundancy
  }
}

module platform 'gateway/platform.bicep' = {
  name: 'platform-gateway'
  scope: resourceGroup(platformGroup)
  params: {
    gatewayId: gateway.outputs.gatewayId
    gatewayPrincipalId: gateway.outputs.gatewayPrincipalId
    routerId: gateway.outputs.routerId
    routerPrincipalId: gateway.outputs.routerPrincipalId
    telemetryName: telemetryName
    vaultName: vaultName
  }
}

module router 'gateway/router.bicep' = {
  name: 'router'
  scope: resourceGroup('rg-skein-${environment}-gateway')
  params: {
    environment: environment
    location: location
    suffix: suffix
    routerClientId: gateway.outputs.routerClientId
    routerId: gateway.outputs.routerId
    routerPrincipalId: gateway.outputs.routerPrincipalId
    gatewayPrincipalId: gateway.outputs.gatewayPrincipalId
    appClientId: appClientId
    appAudience: appAudience
    siteUrl: siteUrl
    introspection: introspection
    persistedOnly: persistedOnly
    vaultName: vaultName
    workspaceId: workspaceId
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    storageRedundancy: storageRedundancy
  }
  dependsOn: [
    platform
  ]
}

module settings 'gateway/settings.bicep' = {
  name: 'gateway-settings'
  scope: resourceGroup('rg-skein-${environment}-gateway')
  params: {
    gatewayName: gateway.outputs.gatewayName
    vaultUri: vaultUri
    telemetryId: platform.outputs.telemetryId
    appAudience: appAudience
    tokenAudience: tokenAudience
    tokenIssuer: tokenIssuer
    tokenConfiguration: tokenConfiguration
    siteUrl: gateway.outputs.siteUrl
    gatewayTier: gateway.outputs.gatewayTier
    routerUrl: router.outputs.routerUrl
  }
}

output gatewayGroup string = 'rg-skein-${environment}-gateway'
output group string = 'rg-skein-${environment}-gateway'
output routerSite string = router.outputs.routerSite
output gatewayName string = gateway.outputs.gatewayName
output gatewayId string = gateway.outputs.gatewayId
output gatewayPrincipalId string = gateway.outputs.gatewayPrincipalId
output gatewayTier string = gateway.outputs.gatewayTier
output gatewayUrl string = gateway.outputs.gatewayUrl
output routerPrincipalId string = gateway.outputs.routerPrincipalId
output signalrEndpoint string = gateway.outputs.signalrEndpoint
output signalrName string = gateway.outputs.signalrName
output signalrPrincipalId string = gateway.outputs.signalrPrincipalId
output siteAccount string = gateway.outputs.siteAccount
output siteEndpoint string = gateway.outputs.siteEndpoint
output siteUrl string = gateway.outputs.siteUrl
output signInClientId string = signInClientId
output signInConfiguration string = tokenConfiguration
output signInScope string = signInScope

