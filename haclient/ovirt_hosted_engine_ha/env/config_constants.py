# SPDX-License-Identifier: Apache-2.0
"""Names of the configuration's stores, and of the keys of hosted-engine.conf and ha.conf.

The values are the files' own words (facts: ha-agent's docs/predecessor-files.md); the names are
what set-up's tools import.
"""

from __future__ import annotations

ENGINE = "he_local"
HE_CONF = "he_shared"
HA = "ha"
BROKER = "broker"

BRIDGE_NAME = "bridge"
CONFIGURED = "configured"
CONF_FILE = "conf"
CONF_IMAGE_UUID = "conf_image_UUID"
CONF_VOLUME_UUID = "conf_volume_UUID"
CONNECTIONUUID = "connectionUUID"
DOMAIN_TYPE = "domainType"
ENGINE_FQDN = "fqdn"
GATEWAY_ADDR = "gateway"
HEVMID = "vmid"
HOST_ID = "host_id"
ISCSI_IQN = "iqn"
ISCSI_PASSWORD = "password"
ISCSI_PORT = "port"
ISCSI_PORTAL = "portal"
ISCSI_USER = "user"
LOCAL_MAINTENANCE = "local_maintenance"
LOCAL_MAINTENANCE_MANUAL = "local_maintenance_manual"
LOCKSPACE_IMAGE_UUID = "lockspace_image_UUID"
LOCKSPACE_VOLUME_UUID = "lockspace_volume_UUID"
METADATA_IMAGE_UUID = "metadata_image_UUID"
METADATA_VOLUME_UUID = "metadata_volume_UUID"
MNT_OPTIONS = "mnt_options"
NETWORK_TEST = "network_test"
NFS_VERSION = "nfs_version"
SD_UUID = "sdUUID"
SP_UUID = "spUUID"
STORAGE = "storage"
TCP_T_ADDRESS = "tcp_t_address"
TCP_T_PORT = "tcp_t_port"
VDSM_SSL = "vdsm_use_ssl"
VM_DISK_IMG_ID = "vm_disk_id"
VM_DISK_VOL_ID = "vm_disk_vol_id"
