// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Ownable2StepUpgradeable} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {ERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {IAppAuth} from "./interfaces/IAppAuth.sol";
import {IAppInitializer} from "./interfaces/IAppInitializer.sol";
import {PolicyAudit} from "./PolicyAudit.sol";

/// @title Which key management services, guest OS images and apps may boot
/// @notice The owner allows KMS builds, devices and OS images; anybody registers an app, whose own contract then
/// says which of its versions may boot.
/// @dev The order of storage is that of deployed proxies: add at the end, out of the gap, or in a namespace.
contract DstackKms is Ownable2StepUpgradeable, UUPSUpgradeable, ERC165, PolicyAudit, IAppAuth {
    /// @notice What a KMS says of itself when it is set up.
    struct KmsInfo {
        /// SEC1 encoding of the key that signs app keys.
        bytes k256Pubkey;
        /// DER of the root certificate authority's public key.
        bytes caPubkey;
        /// Evidence that a confidential VM made these keys.
        bytes quote;
        /// The log that belongs to the evidence.
        bytes eventlog;
    }

    /// @custom:storage-location erc7201:dstack.storage.AppRevocation
    struct AppRevocation {
        mapping(address appId => bool) revoked;
    }

    /// @notice Keys and evidence of the KMS.
    KmsInfo public kmsInfo;

    /// @notice App id of the gateway that apps trust.
    string public gatewayAppId;

    /// @notice Each app that somebody registered.
    mapping(address appId => bool) public registeredApps;

    /// @notice Measurement of each KMS that may run.
    mapping(bytes32 mrAggregated => bool) public kmsAllowedAggregatedMrs;

    /// @notice Each platform on which a KMS may run.
    mapping(bytes32 deviceId => bool) public kmsAllowedDeviceIds;

    /// @notice Hash of each guest OS image that may boot.
    mapping(bytes32 osImageHash => bool) public allowedOsImages;

    /// @notice The code behind the apps that the factory makes.
    address public appImplementation;

    // forge-lint: disable-next-line(mixed-case-variable)
    uint256[50] private __gap;

    /// keccak256(abi.encode(uint256(keccak256("dstack.storage.AppRevocation")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant APP_REVOCATION_SLOT = 0x48fcbfbe60fd3a6df751e24974bf9b8524d7ae6519acd13798373eb4b7ea3e00;

    bytes32 private constant KMS_INFO = keccak256("kms-info");
    bytes32 private constant KMS_QUOTE = keccak256("kms-quote");
    bytes32 private constant KMS_EVENTLOG = keccak256("kms-eventlog");
    bytes32 private constant GATEWAY_APP_ID = keccak256("gateway-app-id");
    bytes32 private constant REGISTERED_APP = keccak256("registered-app");
    bytes32 private constant REVOKED_APP = keccak256("revoked-app");
    bytes32 private constant APP_IMPLEMENTATION = keccak256("app-implementation");
    bytes32 private constant KMS_AGGREGATED_MR = keccak256("kms-aggregated-mr");
    bytes32 private constant KMS_DEVICE = keccak256("kms-device");
    bytes32 private constant OS_IMAGE = keccak256("os-image");
    bytes32 private constant UP_TO_DATE = keccak256("UpToDate");

    event AppRegistered(address appId);
    event AppDeployedViaFactory(address indexed appId, address indexed deployer);
    event AppRevoked(address indexed appId);
    event AppRestored(address indexed appId);
    event KmsInfoSet(bytes k256Pubkey);
    event KmsQuoteSet(bytes32 indexed quoteHash);
    event KmsEventlogSet(bytes32 indexed eventlogHash);
    event KmsAggregatedMrAdded(bytes32 mrAggregated);
    event KmsAggregatedMrRemoved(bytes32 mrAggregated);
    event KmsDeviceAdded(bytes32 deviceId);
    event KmsDeviceRemoved(bytes32 deviceId);
    event OsImageHashAdded(bytes32 osImageHash);
    event OsImageHashRemoved(bytes32 osImageHash);
    event GatewayAppIdSet(string gatewayAppId);
    event AppImplementationSet(address implementation);

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    /// @notice Sets up a proxy.
    /// @param initialOwner who governs this KMS
    /// @param appImplementation_ code for the factory's apps, or zero to set it later
    function initialize(address initialOwner, address appImplementation_) external initializer {
        __Ownable_init(initialOwner);
        if (appImplementation_ != address(0)) _setAppImplementation(appImplementation_);
    }

    /// @param info keys and evidence of the KMS, replacing all that was there
    function setKmsInfo(KmsInfo calldata info) external onlyOwner {
        kmsInfo = info;
        emit KmsInfoSet(info.k256Pubkey);
        _audit(KMS_INFO, keccak256(info.k256Pubkey), true);
    }

    /// @param quote evidence that replaces the present one
    function setKmsQuote(bytes calldata quote) external onlyOwner {
        kmsInfo.quote = quote;
        emit KmsQuoteSet(keccak256(quote));
        _audit(KMS_QUOTE, keccak256(quote), true);
    }

    /// @param eventlog log that replaces the present one
    function setKmsEventlog(bytes calldata eventlog) external onlyOwner {
        kmsInfo.eventlog = eventlog;
        emit KmsEventlogSet(keccak256(eventlog));
        _audit(KMS_EVENTLOG, keccak256(eventlog), true);
    }

    /// @param appId app id of the gateway that apps trust
    function setGatewayAppId(string calldata appId) external onlyOwner {
        gatewayAppId = appId;
        emit GatewayAppIdSet(appId);
        _audit(GATEWAY_APP_ID, keccak256(bytes(appId)), true);
    }

    /// @param implementation code for the apps that the factory makes from now on
    function setAppImplementation(address implementation) external onlyOwner {
        require(implementation != address(0), "Invalid implementation address");
        _setAppImplementation(implementation);
    }

    /// @notice Makes an app's contract known. Anybody may; what boots is the contract's decision.
    /// @param appId the app's contract
    function registerApp(address appId) external {
        _registerApp(appId);
    }

    /// @notice Shuts an app out, whatever its own contract says.
    /// @param appId the app's contract, registered or not
    function revokeApp(address appId) external onlyOwner {
        _appRevocation().revoked[appId] = true;
        emit AppRevoked(appId);
        _audit(REVOKED_APP, bytes32(uint256(uint160(appId))), true);
    }

    /// @notice Leaves an app to its own contract again.
    /// @param appId the app's contract
    function restoreApp(address appId) external onlyOwner {
        _appRevocation().revoked[appId] = false;
        emit AppRestored(appId);
        _audit(REVOKED_APP, bytes32(uint256(uint160(appId))), false);
    }

    /// @param appId the app's contract
    /// @return whether the owner shut it out
    function revokedApps(address appId) external view returns (bool) {
        return _appRevocation().revoked[appId];
    }

    /// @notice Makes a contract for a new app and registers it, without the patch-level rule.
    /// @param initialOwner who manages the app
    /// @param disableUpgrades whether the app's code is fixed for good
    /// @param allowAnyDevice whether every device may boot the app
    /// @param initialDeviceId a device to allow, or zero
    /// @param initialComposeHash a manifest to allow, or zero
    /// @return appId the app's contract
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external returns (address appId) {
        return _deployApp(initialOwner, disableUpgrades, false, allowAnyDevice, initialDeviceId, initialComposeHash);
    }

    /// @notice Makes a contract for a new app and registers it.
    /// @param initialOwner who manages the app
    /// @param disableUpgrades whether the app's code is fixed for good
    /// @param requireTcbUpToDate whether only fully patched platforms may boot the app
    /// @param allowAnyDevice whether every device may boot the app
    /// @param initialDeviceId a device to allow, or zero
    /// @param initialComposeHash a manifest to allow, or zero
    /// @return appId the app's contract
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external returns (address appId) {
        return _deployApp(
            initialOwner, disableUpgrades, requireTcbUpToDate, allowAnyDevice, initialDeviceId, initialComposeHash
        );
    }

    /// @param mrAggregated measurement of a KMS that may run from now on
    function addKmsAggregatedMr(bytes32 mrAggregated) external onlyOwner {
        _requireValue(mrAggregated);
        kmsAllowedAggregatedMrs[mrAggregated] = true;
        emit KmsAggregatedMrAdded(mrAggregated);
        _audit(KMS_AGGREGATED_MR, mrAggregated, true);
    }

    /// @param mrAggregated measurement of a KMS that may no longer run
    function removeKmsAggregatedMr(bytes32 mrAggregated) external onlyOwner {
        kmsAllowedAggregatedMrs[mrAggregated] = false;
        emit KmsAggregatedMrRemoved(mrAggregated);
        _audit(KMS_AGGREGATED_MR, mrAggregated, false);
    }

    /// @param deviceId platform on which a KMS may run from now on
    function addKmsDevice(bytes32 deviceId) external onlyOwner {
        _requireValue(deviceId);
        kmsAllowedDeviceIds[deviceId] = true;
        emit KmsDeviceAdded(deviceId);
        _audit(KMS_DEVICE, deviceId, true);
    }

    /// @param deviceId platform on which a KMS may no longer run
    function removeKmsDevice(bytes32 deviceId) external onlyOwner {
        kmsAllowedDeviceIds[deviceId] = false;
        emit KmsDeviceRemoved(deviceId);
        _audit(KMS_DEVICE, deviceId, false);
    }

    /// @param osImageHash guest OS image that may boot from now on
    function addOsImageHash(bytes32 osImageHash) external onlyOwner {
        _requireValue(osImageHash);
        allowedOsImages[osImageHash] = true;
        emit OsImageHashAdded(osImageHash);
        _audit(OS_IMAGE, osImageHash, true);
    }

    /// @param osImageHash guest OS image that may no longer boot
    function removeOsImageHash(bytes32 osImageHash) external onlyOwner {
        allowedOsImages[osImageHash] = false;
        emit OsImageHashRemoved(osImageHash);
        _audit(OS_IMAGE, osImageHash, false);
    }

    /// @notice Decides whether a KMS may run.
    /// @param bootInfo the KMS's VM
    /// @return isAllowed whether it may
    /// @return reason why not; empty when it may
    function isKmsAllowed(AppBootInfo calldata bootInfo) external view returns (bool isAllowed, string memory reason) {
        if (keccak256(bytes(bootInfo.tcbStatus)) != UP_TO_DATE) return (false, "TCB status is not up to date");
        if (!allowedOsImages[bootInfo.osImageHash]) return (false, "OS image is not allowed");
        if (!kmsAllowedAggregatedMrs[bootInfo.mrAggregated]) return (false, "Aggregated MR not allowed");
        if (!kmsAllowedDeviceIds[bootInfo.deviceId]) return (false, "KMS is not allowed to boot on this device");
        return (true, "");
    }

    /// @inheritdoc IAppAuth
    function isAppAllowed(AppBootInfo calldata bootInfo) external view returns (bool isAllowed, string memory reason) {
        if (!registeredApps[bootInfo.appId]) return (false, "App not registered");
        if (_appRevocation().revoked[bootInfo.appId]) return (false, "App is revoked");
        if (!allowedOsImages[bootInfo.osImageHash]) return (false, "OS image is not allowed");
        if (bootInfo.appId.code.length == 0) return (false, "App not deployed or invalid address");
        return IAppAuth(bootInfo.appId).isAppAllowed(bootInfo);
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override(ERC165, IERC165) returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || super.supportsInterface(interfaceId);
    }

    function _deployApp(
        address initialOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) private returns (address appId) {
        require(appImplementation != address(0), "DstackApp implementation not set");
        require(initialOwner != address(0), "Invalid owner address");
        bytes memory call = abi.encodeCall(
            IAppInitializer.initialize,
            (initialOwner, disableUpgrades, requireTcbUpToDate, allowAnyDevice, initialDeviceId, initialComposeHash)
        );
        appId = address(new ERC1967Proxy(appImplementation, call));
        _registerApp(appId);
        emit AppDeployedViaFactory(appId, msg.sender);
    }

    function _registerApp(address appId) private {
        require(appId != address(0), "Invalid app ID");
        registeredApps[appId] = true;
        emit AppRegistered(appId);
        _audit(REGISTERED_APP, appId);
    }

    function _setAppImplementation(address implementation) private {
        appImplementation = implementation;
        emit AppImplementationSet(implementation);
        _audit(APP_IMPLEMENTATION, implementation);
    }

    function _authorizeUpgrade(address newImplementation) internal override onlyOwner {
        _audit(IMPLEMENTATION_UPGRADE, newImplementation);
    }

    function _appRevocation() private pure returns (AppRevocation storage revocation) {
        // The slot of the namespace; Solidity has no other way to name it.
        assembly {
            revocation.slot := APP_REVOCATION_SLOT
        }
    }
}
