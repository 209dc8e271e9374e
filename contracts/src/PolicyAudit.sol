// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title One event for every change of policy
/// @notice Whoever reads these events alone can tell what is allowed now, and who allowed it.
/// @dev Without storage, so that both contracts can inherit it at any time.
abstract contract PolicyAudit {
    /// @param actor who made the change
    /// @param policy Keccak-256 of the policy's name
    /// @param value what the policy is about: an id or hash, or zero for a switch
    /// @param enabled whether it holds now
    event PolicyChanged(address indexed actor, bytes32 indexed policy, bytes32 indexed value, bool enabled);

    bytes32 internal constant IMPLEMENTATION_UPGRADE = keccak256("implementation-upgrade");

    /// Zero is what a member that nobody filled in reads as. It can still be taken back where older code allowed it.
    function _requireValue(bytes32 value) internal pure {
        require(value != bytes32(0), "Zero cannot be allowed");
    }

    function _audit(bytes32 policy, bytes32 value, bool enabled) internal {
        emit PolicyChanged(msg.sender, policy, value, enabled);
    }

    function _audit(bytes32 policy, address value) internal {
        _audit(policy, bytes32(uint256(uint160(value))), true);
    }
}
