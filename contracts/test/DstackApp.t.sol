// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {DstackApp} from "../src/DstackApp.sol";
import {IAppAuth} from "../src/interfaces/IAppAuth.sol";
import {TestBase} from "./support/TestBase.sol";
import {IVm} from "./support/IVm.sol";

contract DstackAppTest is TestBase {
    bytes32 private constant DEVICE = bytes32(uint256(123));
    bytes32 private constant HASH = bytes32(uint256(456));
    DstackApp private app;

    event ComposeHashAdded(bytes32 composeHash);
    event ComposeHashRemoved(bytes32 composeHash);
    event DeviceAdded(bytes32 deviceId);
    event DeviceRemoved(bytes32 deviceId);
    event AllowAnyDeviceSet(bool allowAny);
    event RequireTcbUpToDateSet(bool requireUpToDate);
    event UpgradesDisabled();

    function setUp() public {
        app = newApp(false, false, DEVICE, HASH);
    }

    function fiveArguments(address owner, bool anyDevice, bytes32 deviceId, bytes32 hash) private returns (DstackApp) {
        bytes memory call = abi.encodeWithSelector(bytes4(0x187515ca), owner, false, anyDevice, deviceId, hash);
        return DstackApp(address(new ERC1967Proxy(address(new DstackApp()), call)));
    }

    function decide(bytes32 deviceId, bytes32 hash, string memory tcb) private view returns (bool, string memory) {
        IAppAuth.AppBootInfo memory info = bootInfo();
        info.deviceId = deviceId;
        info.composeHash = hash;
        info.tcbStatus = tcb;
        return app.isAppAllowed(info);
    }

    function assertDecides(bytes32 deviceId, bytes32 hash, string memory tcb, string memory reason) private view {
        (bool allowed, string memory got) = decide(deviceId, hash, tcb);
        assertDecision(allowed, got, bytes(reason).length == 0, reason);
    }

    function test_FiveArgumentsStartEmpty() public {
        VM.recordLogs();
        DstackApp empty = fiveArguments(OWNER, false, 0, 0);
        IVm.Log[] memory logs = VM.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; i++) {
            check(
                logs[i].topics[0] != DeviceAdded.selector && logs[i].topics[0] != ComposeHashAdded.selector,
                "an entry was added"
            );
        }
        assertEq(empty.owner(), OWNER);
        check(!empty.allowAnyDevice() && !empty.requireTcbUpToDate(), "a switch is on");
        check(!empty.allowedDeviceIds(0) && !empty.allowedComposeHashes(0), "zero is allowed");
    }

    function test_FiveArgumentsAddOneEntryEach() public {
        VM.recordLogs();
        DstackApp full = fiveArguments(OWNER, true, DEVICE, HASH);
        IVm.Log[] memory logs = VM.getRecordedLogs();
        uint256 devices;
        uint256 hashes;
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].topics[0] == DeviceAdded.selector) devices++;
            if (logs[i].topics[0] == ComposeHashAdded.selector) hashes++;
        }
        check(devices == 1 && hashes == 1, "not exactly one event each");
        check(full.allowAnyDevice() && full.allowedDeviceIds(DEVICE) && full.allowedComposeHashes(HASH), "not set");
        check(!full.requireTcbUpToDate(), "TCB rule is on");
    }

    function test_SixArgumentsSetTheTcbRule() public {
        check(newApp(true, false, 0, 0).requireTcbUpToDate(), "TCB rule is off");
        check(!app.requireTcbUpToDate(), "TCB rule is on");
    }

    function test_OwnerMustNotBeZero() public {
        DstackApp implementation = new DstackApp();
        expectText("invalid owner address");
        new ERC1967Proxy(
            address(implementation),
            abi.encodeWithSelector(bytes4(0x187515ca), address(0), false, false, bytes32(0), bytes32(0))
        );
    }

    function test_InitializesOnce() public {
        VM.expectRevert(abi.encodeWithSignature("InvalidInitialization()"));
        app.initialize(STRANGER, false, false, 0, 0);
        VM.expectRevert(abi.encodeWithSignature("InvalidInitialization()"));
        app.initialize(STRANGER, false, false, false, 0, 0);
        DstackApp implementation = new DstackApp();
        VM.expectRevert(abi.encodeWithSignature("InvalidInitialization()"));
        implementation.initialize(STRANGER, false, false, 0, 0);
    }

    function test_ComposeHashes() public {
        bytes32 hash = bytes32(uint256(9));
        VM.expectEmit(address(app));
        emit ComposeHashAdded(hash);
        expectAudit(address(app), OWNER, "compose-hash", hash, true);
        VM.prank(OWNER);
        app.addComposeHash(hash);
        assertDecides(DEVICE, hash, "UpToDate", "");
        VM.expectEmit(address(app));
        emit ComposeHashRemoved(hash);
        expectAudit(address(app), OWNER, "compose-hash", hash, false);
        VM.prank(OWNER);
        app.removeComposeHash(hash);
        assertDecides(DEVICE, hash, "UpToDate", "Compose hash not allowed");
    }

    function test_ZeroIsNeverAllowedAndCanBeTakenBack() public {
        VM.startPrank(OWNER);
        expectText("Zero cannot be allowed");
        app.addComposeHash(0);
        expectText("Zero cannot be allowed");
        app.addDevice(0);
        check(!app.allowedComposeHashes(0) && !app.allowedDeviceIds(0), "zero is allowed");
        // As older code left it.
        VM.store(address(app), elementSlot(0, 0), bytes32(uint256(1)));
        check(app.allowedComposeHashes(0), "not stored");
        app.removeComposeHash(0);
        check(!app.allowedComposeHashes(0), "zero is allowed");
        VM.stopPrank();
    }

    function test_Devices() public {
        bytes32 device = bytes32(uint256(9));
        assertDecides(device, HASH, "UpToDate", "Device not allowed");
        VM.expectEmit(address(app));
        emit DeviceAdded(device);
        expectAudit(address(app), OWNER, "device", device, true);
        VM.prank(OWNER);
        app.addDevice(device);
        assertDecides(device, HASH, "UpToDate", "");
        VM.expectEmit(address(app));
        emit DeviceRemoved(device);
        expectAudit(address(app), OWNER, "device", device, false);
        VM.prank(OWNER);
        app.removeDevice(device);
        assertDecides(device, HASH, "UpToDate", "Device not allowed");
    }

    function test_AnyDevice() public {
        VM.expectEmit(address(app));
        emit AllowAnyDeviceSet(true);
        expectAudit(address(app), OWNER, "allow-any-device", 0, true);
        VM.prank(OWNER);
        app.setAllowAnyDevice(true);
        assertDecides(0, HASH, "UpToDate", "");
        expectAudit(address(app), OWNER, "allow-any-device", 0, false);
        VM.prank(OWNER);
        app.setAllowAnyDevice(false);
        assertDecides(0, HASH, "UpToDate", "Device not allowed");
    }

    function test_TcbRule() public {
        assertDecides(DEVICE, HASH, "OutOfDate", "");
        VM.expectEmit(address(app));
        emit RequireTcbUpToDateSet(true);
        expectAudit(address(app), OWNER, "require-tcb-up-to-date", 0, true);
        VM.prank(OWNER);
        app.setRequireTcbUpToDate(true);
        assertDecides(DEVICE, HASH, "OutOfDate", "TCB status is not up to date");
        assertDecides(DEVICE, HASH, "", "TCB status is not up to date");
        assertDecides(DEVICE, HASH, "UpToDate", "");
        VM.prank(OWNER);
        app.setRequireTcbUpToDate(false);
        assertDecides(DEVICE, HASH, "OutOfDate", "");
    }

    function test_RulesInOrder() public {
        VM.prank(OWNER);
        app.setRequireTcbUpToDate(true);
        assertDecides(0, 0, "OutOfDate", "TCB status is not up to date");
        assertDecides(0, 0, "UpToDate", "Compose hash not allowed");
        assertDecides(0, HASH, "UpToDate", "Device not allowed");
    }

    function test_UpgradesEndForGood() public {
        address next = address(new DstackApp());
        VM.expectEmit(address(app));
        emit UpgradesDisabled();
        expectAudit(address(app), OWNER, "upgrades-disabled", 0, true);
        VM.prank(OWNER);
        app.disableUpgrades();
        VM.prank(OWNER);
        app.setAllowAnyDevice(true);
        VM.prank(OWNER);
        app.addDevice(HASH);
        expectText("Upgrades are permanently disabled");
        VM.prank(OWNER);
        app.upgradeToAndCall(next, "");
    }

    function test_Interfaces() public view {
        check(app.version() == 2, "version");
        check(
            app.supportsInterface(0x01ffc9a7) && app.supportsInterface(0x1e079198) && app.supportsInterface(0x8fd37527),
            "an interface is missing"
        );
        check(!app.supportsInterface(0x12345678) && !app.supportsInterface(0xffffffff), "an interface too many");
    }

    /// Whatever was allowed and removed before, the decision is the model's.
    function testFuzz_DecisionIsTheModels(
        bytes32 device,
        bytes32 hash,
        bool deviceListed,
        bool hashListed,
        bool anyDevice,
        bool requireTcb,
        bool upToDate
    ) public {
        VM.assume(device != 0 && hash != 0);
        VM.prank(OWNER);
        app.addDevice(device);
        VM.prank(OWNER);
        app.addComposeHash(hash);
        VM.prank(OWNER);
        if (!deviceListed) app.removeDevice(device);
        else app.addDevice(device);
        VM.prank(OWNER);
        if (!hashListed) app.removeComposeHash(hash);
        else app.addComposeHash(hash);
        VM.prank(OWNER);
        app.setAllowAnyDevice(anyDevice);
        VM.prank(OWNER);
        app.setRequireTcbUpToDate(requireTcb);
        string memory expected = requireTcb && !upToDate
            ? "TCB status is not up to date"
            : !hashListed ? "Compose hash not allowed" : anyDevice || deviceListed ? "" : "Device not allowed";
        assertDecides(device, hash, upToDate ? "UpToDate" : "OutOfDate", expected);
    }

    /// Only the very text counts, whatever it begins with.
    function testFuzz_OnlyUpToDateIsUpToDate(string calldata status) public {
        VM.assume(keccak256(bytes(status)) != keccak256("UpToDate"));
        VM.prank(OWNER);
        app.setRequireTcbUpToDate(true);
        assertDecides(DEVICE, HASH, status, "TCB status is not up to date");
    }
}
