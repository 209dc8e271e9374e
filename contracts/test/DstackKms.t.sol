// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {DstackApp} from "../src/DstackApp.sol";
import {DstackKms} from "../src/DstackKms.sol";
import {IAppAuth} from "../src/interfaces/IAppAuth.sol";
import {TestBase} from "./support/TestBase.sol";
import {IVm} from "./support/IVm.sol";

/// An app contract of somebody else's making, which answers as it likes.
contract StrangeApp {
    string private _reason;
    bool private _reverts;

    constructor(string memory reason, bool reverts) {
        _reason = reason;
        _reverts = reverts;
    }

    function isAppAllowed(IAppAuth.AppBootInfo calldata) external view returns (bool, string memory) {
        require(!_reverts, "strange");
        return (false, _reason);
    }
}

contract DstackKmsTest is TestBase {
    bytes32 private constant DEVICE = bytes32(uint256(123));
    bytes32 private constant MR = bytes32(uint256(456));
    bytes32 private constant IMAGE = bytes32(uint256(789));
    address private appCode;
    DstackKms private kms;

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

    function setUp() public {
        appCode = address(new DstackApp());
        kms = newKms(appCode);
        VM.prank(OWNER);
        kms.addOsImageHash(IMAGE);
    }

    function assertKms(bytes32 image, bytes32 mr, bytes32 device, string memory tcb, string memory reason)
        private
        view
    {
        IAppAuth.AppBootInfo memory info = bootInfo();
        info.osImageHash = image;
        info.mrAggregated = mr;
        info.deviceId = device;
        info.tcbStatus = tcb;
        (bool allowed, string memory got) = kms.isKmsAllowed(info);
        assertDecision(allowed, got, bytes(reason).length == 0, reason);
    }

    function assertApp(address app, bytes32 image, string memory reason) private view {
        IAppAuth.AppBootInfo memory info = bootInfo();
        info.appId = app;
        info.osImageHash = image;
        (bool allowed, string memory got) = kms.isAppAllowed(info);
        assertDecision(allowed, got, bytes(reason).length == 0, reason);
    }

    function test_Initialize() public {
        assertEq(kms.owner(), OWNER);
        assertEq(kms.appImplementation(), appCode);
        assertEq(newKms(address(0)).appImplementation(), address(0));
        DstackKms code = new DstackKms();
        VM.expectRevert(abi.encodeWithSignature("OwnableInvalidOwner(address)", address(0)));
        new ERC1967Proxy(address(code), abi.encodeCall(DstackKms.initialize, (address(0), appCode)));
        VM.expectRevert(abi.encodeWithSignature("InvalidInitialization()"));
        kms.initialize(STRANGER, appCode);
        VM.expectRevert(abi.encodeWithSignature("InvalidInitialization()"));
        code.initialize(STRANGER, appCode);
    }

    function test_KmsInfo() public {
        DstackKms.KmsInfo memory info = DstackKms.KmsInfo(hex"123456", hex"789abc", hex"defdef", hex"abcabc");
        VM.expectEmit(address(kms));
        emit KmsInfoSet(hex"123456");
        expectAudit(address(kms), OWNER, "kms-info", keccak256(hex"123456"), true);
        VM.prank(OWNER);
        kms.setKmsInfo(info);
        VM.expectEmit(address(kms));
        emit KmsQuoteSet(keccak256(hex"01"));
        expectAudit(address(kms), OWNER, "kms-quote", keccak256(hex"01"), true);
        VM.prank(OWNER);
        kms.setKmsQuote(hex"01");
        VM.expectEmit(address(kms));
        emit KmsEventlogSet(keccak256(hex"02"));
        expectAudit(address(kms), OWNER, "kms-eventlog", keccak256(hex"02"), true);
        VM.prank(OWNER);
        kms.setKmsEventlog(hex"02");
        (bytes memory k256, bytes memory ca, bytes memory quote, bytes memory eventlog) = kms.kmsInfo();
        assertEq(k256, hex"123456");
        assertEq(ca, hex"789abc");
        assertEq(quote, hex"01");
        assertEq(eventlog, hex"02");
    }

    /// A request that names nothing must never match what nobody meant to allow.
    function test_ZeroIsNeverAllowedAndCanBeTakenBack() public {
        VM.startPrank(OWNER);
        expectText("Zero cannot be allowed");
        kms.addKmsAggregatedMr(0);
        expectText("Zero cannot be allowed");
        kms.addKmsDevice(0);
        expectText("Zero cannot be allowed");
        kms.addOsImageHash(0);
        check(
            !kms.kmsAllowedAggregatedMrs(0) && !kms.kmsAllowedDeviceIds(0) && !kms.allowedOsImages(0), "zero is allowed"
        );
        // As older code left it.
        VM.store(address(kms), elementSlot(0, 8), bytes32(uint256(1)));
        check(kms.allowedOsImages(0), "not stored");
        kms.removeOsImageHash(0);
        check(!kms.allowedOsImages(0), "zero is allowed");
        VM.stopPrank();
    }

    function test_GatewayAppId() public {
        VM.expectEmit(address(kms));
        emit GatewayAppIdSet("0xabc");
        expectAudit(address(kms), OWNER, "gateway-app-id", keccak256("0xabc"), true);
        VM.prank(OWNER);
        kms.setGatewayAppId("0xabc");
        assertEq(kms.gatewayAppId(), "0xabc");
    }

    function test_KmsRulesInOrder() public {
        assertKms(0, MR, DEVICE, "Outdated", "TCB status is not up to date");
        assertKms(0, MR, DEVICE, "UpToDate", "OS image is not allowed");
        assertKms(IMAGE, MR, DEVICE, "UpToDate", "Aggregated MR not allowed");
        VM.expectEmit(address(kms));
        emit KmsAggregatedMrAdded(MR);
        expectAudit(address(kms), OWNER, "kms-aggregated-mr", MR, true);
        VM.prank(OWNER);
        kms.addKmsAggregatedMr(MR);
        assertKms(IMAGE, MR, DEVICE, "UpToDate", "KMS is not allowed to boot on this device");
        VM.expectEmit(address(kms));
        emit KmsDeviceAdded(DEVICE);
        expectAudit(address(kms), OWNER, "kms-device", DEVICE, true);
        VM.prank(OWNER);
        kms.addKmsDevice(DEVICE);
        assertKms(IMAGE, MR, DEVICE, "UpToDate", "");
        assertKms(IMAGE, MR, DEVICE, "Outdated", "TCB status is not up to date");
    }

    function test_KmsEntriesCanBeTaken() public {
        VM.prank(OWNER);
        kms.addKmsAggregatedMr(MR);
        VM.prank(OWNER);
        kms.addKmsDevice(DEVICE);
        VM.expectEmit(address(kms));
        emit KmsDeviceRemoved(DEVICE);
        expectAudit(address(kms), OWNER, "kms-device", DEVICE, false);
        VM.prank(OWNER);
        kms.removeKmsDevice(DEVICE);
        assertKms(IMAGE, MR, DEVICE, "UpToDate", "KMS is not allowed to boot on this device");
        VM.expectEmit(address(kms));
        emit KmsAggregatedMrRemoved(MR);
        expectAudit(address(kms), OWNER, "kms-aggregated-mr", MR, false);
        VM.prank(OWNER);
        kms.removeKmsAggregatedMr(MR);
        assertKms(IMAGE, MR, DEVICE, "UpToDate", "Aggregated MR not allowed");
        VM.expectEmit(address(kms));
        emit OsImageHashRemoved(IMAGE);
        expectAudit(address(kms), OWNER, "os-image", IMAGE, false);
        VM.prank(OWNER);
        kms.removeOsImageHash(IMAGE);
        assertKms(IMAGE, MR, DEVICE, "UpToDate", "OS image is not allowed");
        VM.expectEmit(address(kms));
        emit OsImageHashAdded(IMAGE);
        expectAudit(address(kms), OWNER, "os-image", IMAGE, true);
        VM.prank(OWNER);
        kms.addOsImageHash(IMAGE);
    }

    function test_AnybodyRegistersAnApp() public {
        address app = address(newApp(false, true, 0, 0));
        assertApp(app, IMAGE, "App not registered");
        VM.expectEmit(address(kms));
        emit AppRegistered(app);
        expectAudit(address(kms), STRANGER, "registered-app", word(app), true);
        VM.prank(STRANGER);
        kms.registerApp(app);
        check(kms.registeredApps(app), "not registered");
        assertApp(app, 0, "OS image is not allowed");
        assertApp(app, IMAGE, "Compose hash not allowed");
        expectText("Invalid app ID");
        kms.registerApp(address(0));
    }

    function test_AnAppNeedsCode() public {
        kms.registerApp(address(0xC0FFEE));
        assertApp(address(0xC0FFEE), IMAGE, "App not deployed or invalid address");
    }

    function test_AnAppsOwnAnswerStands() public {
        address strange = address(new StrangeApp("as I like", false));
        kms.registerApp(strange);
        assertApp(strange, IMAGE, "as I like");
        address reverting = address(new StrangeApp("", true));
        kms.registerApp(reverting);
        IAppAuth.AppBootInfo memory info = bootInfo();
        info.appId = reverting;
        info.osImageHash = IMAGE;
        expectText("strange");
        kms.isAppAllowed(info);
    }

    function test_FactoryWithFiveArguments() public {
        VM.recordLogs();
        VM.prank(STRANGER);
        DstackApp app = DstackApp(kms.deployAndRegisterApp(HEIR, false, false, DEVICE, MR));
        IVm.Log[] memory logs = VM.getRecordedLogs();
        IVm.Log memory deployed = logs[logs.length - 1];
        assertEq(deployed.topics[0], AppDeployedViaFactory.selector);
        assertEq(deployed.topics[1], word(address(app)));
        assertEq(deployed.topics[2], word(STRANGER));
        IVm.Log memory audit = logs[logs.length - 2];
        assertEq(audit.topics[0], PolicyChanged.selector);
        assertEq(audit.topics[1], word(STRANGER));
        assertEq(audit.topics[2], keccak256("registered-app"));
        assertEq(audit.topics[3], word(address(app)));
        assertEq(logs[logs.length - 3].topics[0], AppRegistered.selector);
        assertEq(app.owner(), HEIR);
        check(
            kms.registeredApps(address(app)) && app.allowedDeviceIds(DEVICE) && app.allowedComposeHashes(MR), "not set"
        );
        check(!app.requireTcbUpToDate() && !app.allowAnyDevice(), "a switch is on");
        assertEq(VM.load(address(app), IMPLEMENTATION_SLOT), word(appCode));
    }

    function test_FactoryWithSixArguments() public {
        address app = kms.deployAndRegisterApp(OWNER, true, true, true, 0, MR);
        IAppAuth.AppBootInfo memory info = bootInfo();
        info.appId = app;
        info.osImageHash = IMAGE;
        info.composeHash = MR;
        (bool allowed, string memory reason) = kms.isAppAllowed(info);
        assertDecision(allowed, reason, true, "");
        info.tcbStatus = "OutOfDate";
        (allowed, reason) = kms.isAppAllowed(info);
        assertDecision(allowed, reason, false, "TCB status is not up to date");
        address next = address(new DstackApp());
        expectText("Upgrades are permanently disabled");
        VM.prank(OWNER);
        DstackApp(app).upgradeToAndCall(next, "");
    }

    function test_FactoryRefusals() public {
        expectText("Invalid owner address");
        kms.deployAndRegisterApp(address(0), false, false, 0, 0);
        DstackKms bare = newKms(address(0));
        expectText("DstackApp implementation not set");
        bare.deployAndRegisterApp(OWNER, false, false, false, 0, 0);
        expectText("Invalid implementation address");
        VM.prank(OWNER);
        bare.setAppImplementation(address(0));
        VM.expectEmit(address(bare));
        emit AppImplementationSet(appCode);
        expectAudit(address(bare), OWNER, "app-implementation", word(appCode), true);
        VM.prank(OWNER);
        bare.setAppImplementation(appCode);
        bare.deployAndRegisterApp(OWNER, false, false, false, 0, 0);
    }

    function test_TheOwnerCanShutAnAppOut() public {
        address app = kms.deployAndRegisterApp(STRANGER, false, true, 0, MR);
        IAppAuth.AppBootInfo memory info = bootInfo();
        info.appId = app;
        info.osImageHash = IMAGE;
        info.composeHash = MR;
        VM.expectEmit(address(kms));
        emit AppRevoked(app);
        expectAudit(address(kms), OWNER, "revoked-app", word(app), true);
        VM.prank(OWNER);
        kms.revokeApp(app);
        check(kms.revokedApps(app), "not revoked");
        (bool allowed, string memory reason) = kms.isAppAllowed(info);
        assertDecision(allowed, reason, false, "App is revoked");
        kms.registerApp(app);
        (allowed, reason) = kms.isAppAllowed(info);
        assertDecision(allowed, reason, false, "App is revoked");
        VM.expectEmit(address(kms));
        emit AppRestored(app);
        expectAudit(address(kms), OWNER, "revoked-app", word(app), false);
        VM.prank(OWNER);
        kms.restoreApp(app);
        (allowed, reason) = kms.isAppAllowed(info);
        assertDecision(allowed, reason, true, "");
    }

    /// A KMS boots exactly when all four rules hold, and the first that does not is named.
    function testFuzz_KmsDecisionIsTheModels(
        bytes32 image,
        bytes32 mr,
        bytes32 device,
        bool imageOn,
        bool mrOn,
        bool deviceOn,
        bool upToDate
    ) public {
        VM.assume(image != 0 && mr != 0 && device != 0);
        VM.prank(OWNER);
        if (imageOn) kms.addOsImageHash(image);
        else kms.removeOsImageHash(image);
        VM.prank(OWNER);
        if (mrOn) kms.addKmsAggregatedMr(mr);
        else kms.removeKmsAggregatedMr(mr);
        VM.prank(OWNER);
        if (deviceOn) kms.addKmsDevice(device);
        else kms.removeKmsDevice(device);
        string memory expected = !upToDate
            ? "TCB status is not up to date"
            : !imageOn
                ? "OS image is not allowed"
                : !mrOn ? "Aggregated MR not allowed" : !deviceOn ? "KMS is not allowed to boot on this device" : "";
        assertKms(image, mr, device, upToDate ? "UpToDate" : "SWHardeningNeeded", expected);
    }

    /// No hash but a listed one boots: neighbours, prefixes and shifted values are others.
    function testFuzz_NothingElseIsListed(bytes32 listed, bytes32 asked) public {
        VM.assume(listed != 0 && listed != asked && asked != IMAGE);
        VM.prank(OWNER);
        kms.addOsImageHash(listed);
        assertKms(asked, MR, DEVICE, "UpToDate", "OS image is not allowed");
    }

    function test_Interfaces() public view {
        check(kms.supportsInterface(0x01ffc9a7) && kms.supportsInterface(0x1e079198), "an interface is missing");
        check(!kms.supportsInterface(0x12345678) && !kms.supportsInterface(0x8fd37527), "an interface too many");
    }
}
