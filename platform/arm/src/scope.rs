//! Where a deployment happens.

use serde_json::{Map, Value, json};

/// A resource group as `resourceGroup()` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its region.
    pub location: String,
    /// Its tags.
    pub tags: Map<String, Value>,
}

/// The deployment that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentInfo {
    /// Its name.
    pub name: String,
    /// The region of a deployment to a subscription.
    pub location: Option<String>,
}

/// Where a deployment happens: what `subscription()`, `resourceGroup()`, `deployment()` and `environment()` say.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// The tenant.
    pub tenant: String,
    /// The subscription's id.
    pub subscription: String,
    /// What people call the subscription.
    pub subscription_name: String,
    /// The group; `None` for a deployment to the subscription.
    pub group: Option<Group>,
    /// The deployment.
    pub deployment: DeploymentInfo,
    /// Who deploys: the object id.
    pub deployer: String,
    /// The answer of `environment()`.
    pub environment: Value,
}

impl Scope {
    /// The id of the subscription or group, as resource ids begin.
    pub fn id(&self) -> String {
        match &self.group {
            Some(group) => format!("/subscriptions/{}/resourceGroups/{}", self.subscription, group.name),
            None => format!("/subscriptions/{}", self.subscription),
        }
    }

    /// The answer of `environment()` in the public cloud.
    pub fn public_cloud() -> Value {
        json!({
            "name": "AzureCloud",
            "gallery": "https://gallery.azure.com/",
            "graph": "https://graph.windows.net/",
            "portal": "https://portal.azure.com",
            "graphAudience": "https://graph.windows.net/",
            "activeDirectoryDataLake": "https://datalake.azure.net/",
            "batch": "https://batch.core.windows.net/",
            "media": "https://rest.media.azure.net",
            "sqlManagement": "https://management.core.windows.net:8443/",
            "vmImageAliasDoc":
                "https://raw.githubusercontent.com/Azure/azure-rest-api-specs/master/arm-compute/quickstart-templates/aliases.json",
            "resourceManager": "https://management.azure.com/",
            "authentication": {
                "loginEndpoint": "https://login.microsoftonline.com/",
                "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
                "tenant": "common",
                "identityProvider": "AAD",
            },
            "suffixes": {
                "acrLoginServer": ".azurecr.io",
                "azureDatalakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
                "azureDatalakeStoreFileSystem": "azuredatalakestore.net",
                "azureFrontDoorEndpointSuffix": "azurefd.net",
                "keyvaultDns": ".vault.azure.net",
                "sqlServerHostname": ".database.windows.net",
                "storage": "core.windows.net",
            },
        })
    }
}
